"""The ESM blob as the lab seals it and the Ultravisor opens it, and every way in which it may not open."""

import traceback
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.sealed_blob import BLOB, FILES, PROMISE, elsewhere, here, sealed_for
from pef_lab.image import blob as owner
from pef_lab.image import flat_tree
from pef_lab.image.flat_tree import FlatTree, cell32, cell64, text
from pef_protocol.esm_blob import FILES_LIMIT
from pef_ultravisor.boot.blob import MalformedBlob, NoLockbox, OpenedBlob, open_blob
from pef_ultravisor.boot.measurement import Digests
from pef_ultravisor.machine_key import MachineKey, TamperedBlob

stranger = MachineKey.generate(b"\2" * 32)


def edited(blob: bytes, edits: Mapping[str, Mapping[str, bytes | None]]) -> bytes:
    """Return `blob` with properties replaced, or taken away where they are None."""
    tree = flat_tree.read(blob)
    nodes = {path: dict(properties) for path, properties in tree.nodes.items()}
    for path, properties in edits.items():
        for name, value in properties.items():
            if value is None:
                del nodes[path][name]
            else:
                nodes.setdefault(path, {})[name] = value
    return flat_tree.write(FlatTree(nodes))


PAYLOAD = owner.payload_tree(PROMISE, FILES)
LOCKBOX = flat_tree.read(BLOB).nodes["/lockboxes/lockbox@1"]


def test_opens_what_the_owner_sealed() -> None:
    digests = Digests(PROMISE.kernel, PROMISE.initrd, PROMISE.bootargs, PROMISE.rtas)
    assert open_blob(BLOB, here) == OpenedBlob(PROMISE.kernel_size, digests, FILES)
    assert open_blob(BLOB, elsewhere) == open_blob(BLOB, here)


def test_a_machine_without_a_lockbox_is_told_so() -> None:
    with pytest.raises(NoLockbox):
        open_blob(BLOB, stranger)
    with pytest.raises(NoLockbox):
        open_blob(sealed_for(), here)


TAMPERED = {
    "sealed key of another machine": {
        "/lockboxes/lockbox@1": {
            "sealed-key": flat_tree.read(BLOB).nodes["/lockboxes/lockbox@0"]["sealed-key"]
        }
    },
    "sealed key of zeroes": {"/lockboxes/lockbox@1": {"sealed-key": bytes(80)}},
    "another nonce": {"/payload": {"nonce": bytes(12)}},
    "no ciphertext": {"/payload": {"ciphertext": b""}},
    "ciphertext shorter than a tag": {"/payload": {"ciphertext": bytes(15)}},
    "lockbox of another blob": {
        "/lockboxes/lockbox@1": dict(
            flat_tree.read(
                owner.seal_blob(
                    recipients=[here.public_bytes],
                    promise=PROMISE,
                    files=FILES,
                    payload_key=b"\7" * 32,
                    nonce=bytes(12),
                )
            ).nodes["/lockboxes/lockbox@0"]
        )
    },
}


@pytest.mark.parametrize("edits", TAMPERED.values(), ids=TAMPERED)
def test_refuses_what_was_tampered_with(edits: Mapping[str, Mapping[str, bytes]]) -> None:
    with pytest.raises(TamperedBlob):
        open_blob(edited(BLOB, edits), here)


NAMES = [
    name + b"\0" for name in (b"lockboxes", b"lockbox@0", b"payload", b"recipient", b"sealed-key", b"nonce")
]


@pytest.mark.parametrize("name", NAMES)
def test_a_flipped_bit_of_a_name_or_of_its_end_is_refused(name: bytes) -> None:
    place = BLOB.index(name)
    for bit in range(8 * place, 8 * (place + len(name))):
        flipped = bytearray(BLOB)
        flipped[bit // 8] ^= 1 << bit % 8
        if bytes(flipped[place : place + len(name)]) in ANOTHER_NUMBER:
            continue
        with pytest.raises((MalformedBlob, NoLockbox)):
            open_blob(bytes(flipped), here)


ANOTHER_NUMBER = frozenset(b"lockbox@%x\0" % number for number in range(16))
"""The number of a lockbox says nothing: the recipient in it does."""


MALFORMED: Mapping[str, Mapping[str, Mapping[str, bytes | None]]] = {
    "compatible with something else": {"/": {"compatible": text("pef,esm-glob")}},
    "not compatible with anything": {"/": {"compatible": None}},
    "version 2": {"/": {"version": cell32(2)}},
    "short recipient": {"/lockboxes/lockbox@0": {"recipient": bytes(31)}},
    "long sealed key": {"/lockboxes/lockbox@0": {"sealed-key": bytes(81)}},
    "lockbox without a key": {"/lockboxes/lockbox@1": {"sealed-key": None}},
    "lockbox by another name": {"/lockboxes/chest@2": {**LOCKBOX, "recipient": bytes(32)}},
    "recipient twice": {"/lockboxes/lockbox@2": {**LOCKBOX}},
    "short nonce": {"/payload": {"nonce": bytes(11)}},
    "no ciphertext at all": {"/payload": {"ciphertext": None}},
}


@pytest.mark.parametrize("edits", MALFORMED.values(), ids=MALFORMED)
def test_refuses_a_malformed_blob(edits: Mapping[str, Mapping[str, bytes | None]]) -> None:
    with pytest.raises(MalformedBlob):
        open_blob(edited(BLOB, edits), here)


ILL_FILLED: Mapping[str, Mapping[str, Mapping[str, bytes | None]]] = {
    "another algorithm": {"/digests": {"algorithm": text("sha256")}},
    "no algorithm": {"/digests": {"algorithm": None}},
    "empty kernel": {"/digests": {"kernel-size": cell64(0)}},
    "kernel size of one cell": {"/digests": {"kernel-size": cell32(4096)}},
    "short digest": {"/digests": {"rtas": bytes(63)}},
    "missing digest": {"/digests": {"initrd": None}},
    "long file name": {"/files": {"n" * 65: b""}},
    "file name with a space": {"/files": {"disk key": b""}},
    "too many files": {"/files": {f"file-{number}": b"" for number in range(FILES_LIMIT)}},
}


@pytest.mark.parametrize("edits", ILL_FILLED.values(), ids=ILL_FILLED)
def test_refuses_a_malformed_payload(edits: Mapping[str, Mapping[str, bytes | None]]) -> None:
    with pytest.raises(MalformedBlob):
        open_blob(sealed_for(here, payload=edited(PAYLOAD, edits)), here)


def renamed(payload: bytes, name: bytes) -> bytes:
    """Return a payload whose file "disk-key" has another name of as many bytes."""
    assert len(name) == len(b"disk-key")
    return payload.replace(b"disk-key\0", name + b"\0")


@pytest.mark.parametrize("name", ["dïsk-ke".encode(), b"\xff\xff\xff-keys", b"\0\0\0\0\0\0\0\0"])
def test_refuses_a_file_name_that_is_not_printable_ascii(name: bytes) -> None:
    with pytest.raises(MalformedBlob):
        open_blob(sealed_for(here, payload=renamed(PAYLOAD, name)), here)


def test_refuses_two_files_of_one_name() -> None:
    two = edited(PAYLOAD, {"/files": {"disk-kez": b"another"}}).replace(b"disk-kez\0", b"disk-key\0")
    with pytest.raises(MalformedBlob):
        open_blob(sealed_for(here, payload=two), here)


@pytest.mark.parametrize(
    "payload", [b"", b"no tree", PAYLOAD[:-1], flat_tree.write(FlatTree({"/digests": {}}))]
)
def test_refuses_a_payload_that_is_no_such_tree(payload: bytes) -> None:
    with pytest.raises(MalformedBlob):
        open_blob(sealed_for(here, payload=payload), here)


def test_refuses_a_payload_key_of_another_size() -> None:
    short = owner.seal_payload(
        recipients=[here.public_bytes], payload=PAYLOAD, payload_key=bytes(16), nonce=bytes(12)
    )
    with pytest.raises(MalformedBlob):
        open_blob(short, here)


def test_refuses_a_blob_larger_than_16_mib() -> None:
    with pytest.raises(MalformedBlob):
        open_blob(sealed_for(here, payload=bytes(16 << 20)), here)


REFUSALS = (MalformedBlob, NoLockbox, TamperedBlob)


@given(st.integers(0, 8 * len(BLOB) - 1))
def test_a_flipped_bit_is_harmless_or_refused(bit: int) -> None:
    flipped = bytearray(BLOB)
    flipped[bit // 8] ^= 1 << bit % 8
    try:
        opened = open_blob(bytes(flipped), here)
    except REFUSALS:
        return
    assert opened == open_blob(BLOB, here)


@given(st.integers(0, 8 * 80 - 1), st.integers(0, 8 * 500 - 1))
def test_a_flipped_bit_of_what_was_sealed_shows(key_bit: int, payload_bit: int) -> None:
    nodes = flat_tree.read(BLOB).nodes
    for path, name, bit in (
        ("/lockboxes/lockbox@1", "sealed-key", key_bit),
        ("/payload", "ciphertext", payload_bit),
    ):
        flipped = bytearray(nodes[path][name])
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(TamperedBlob):
            open_blob(edited(BLOB, {path: {name: bytes(flipped)}}), here)


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda rest: BLOB[:200] + rest))
def test_any_bytes_are_refused(anything: bytes) -> None:
    with pytest.raises(REFUSALS):
        open_blob(anything, here)


def test_what_was_opened_is_in_no_repr_and_no_exception() -> None:
    opened = open_blob(BLOB, here)
    assert "secret" not in repr(opened)
    assert "disk-key" not in repr(opened)
    assert repr(opened.digests) == "Digests()"
    payload = edited(PAYLOAD, {"/files": {"disk-key" * 9: b"secret"}})
    with pytest.raises(MalformedBlob) as raised:
        open_blob(sealed_for(here, payload=payload), here)
    assert "disk-key" not in "".join(traceback.format_exception_only(raised.value))
    assert raised.value.__cause__ is None
