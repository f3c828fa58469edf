"""A machine key: named by its public half, and its private half is kept."""

import pickle

import pytest

from harness.sealed_blob import elsewhere, here
from pef_ultravisor.machine_key import MachineKey


def test_a_machine_key_is_named_by_its_public_half() -> None:
    assert len(here.public_bytes) == len(here.key_id) == 32
    assert here == MachineKey.generate(bytes(32)) != elsewhere
    private = bytes(range(32))
    assert MachineKey.from_private_bytes(private) == MachineKey.from_private_bytes(private)


def test_a_machine_key_keeps_its_private_half() -> None:
    private = b"private-bytes-of-this-machine-32"
    key = MachineKey.from_private_bytes(private)
    assert "private" not in repr(key).replace("MachineKey", "")
    assert private.hex() not in repr(key)
    with pytest.raises(TypeError):
        pickle.dumps(key)
    for make in (MachineKey.from_private_bytes, MachineKey.generate):
        with pytest.raises(ValueError, match="32 bytes") as raised:
            make(private[:31])
        assert "machine-3" not in str(raised.value)
