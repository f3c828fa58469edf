"""Measurements of memory, and the sizes that differ from those of the blob."""

import pytest

from harness.sealed_blob import BLOB, PARTS, here
from pef_ultravisor.boot.blob import open_blob
from pef_ultravisor.boot.measurement import Digests, differing, measure


def test_measures_memory_in_place_and_names_what_differs() -> None:
    expected = open_blob(BLOB, here).digests
    memory = bytearray(b"".join(PARTS.values()))
    view = memoryview(memory)
    kernel, initrd, rtas = view[:6000], view[6000:6006], view[6006:]
    measured = measure(kernel=kernel, initrd=initrd, bootargs=b"quiet", rtas=rtas)
    assert differing(measured, expected) == ()
    memory[0] ^= 1
    measured = measure(kernel=kernel, initrd=initrd, bootargs=b"quiet debug", rtas=rtas)
    assert differing(measured, expected) == ("kernel", "bootargs")


def test_a_digest_has_64_bytes() -> None:
    with pytest.raises(ValueError, match="digest of rtas"):
        Digests(bytes(64), bytes(64), bytes(64), bytes(63))
