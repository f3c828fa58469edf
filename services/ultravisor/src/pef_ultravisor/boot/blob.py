"""The ESM blob: what a guest's owner vouches for, sealed so that only chosen machines open it.

    /            compatible = "pef,esm-blob", version = <1>
    /lockboxes
      lockbox@N  recipient = SHA-256 of a machine's public key, sealed-key = HPKE of the payload key
    /payload     nonce = 12 bytes, ciphertext = AES-256-GCM of another tree:
      /digests   algorithm = "sha512", kernel-size = 64 bits, kernel, initrd, bootargs, rtas
      /files     one property per attached file: its name and its bytes

A machine that has a lockbox opens it with its private key, then the payload with the key inside.
HPKE (RFC 9180) is X25519, HKDF-SHA256 and AES-256-GCM in base mode, which doesn't say who sealed: a
stranger may seal a blob for a guest of their own, but can neither read nor change the owner's.

Trust: the blob comes from the guest's memory, thus by way of the hypervisor; until a tag has been
verified, its bytes are a stranger's. No key, digest or file appears in a repr or in an exception.

Source: UV_ESM steps 6 to 8, with HPKE in place of the TPM; UV_ESMB_GET_FILE (file names).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pef_protocol.esm_blob import BLOB_LIMIT, FILE_NAME, FILE_NAME_LIMIT, FILES_LIMIT
from pef_ultravisor.boot.device_tree import MalformedDeviceTree, Node, parse
from pef_ultravisor.boot.measurement import DIGEST_SIZE, PARTS, Digests
from pef_ultravisor.machine_key import KEY_SIZE, MachineKey, TamperedBlob

COMPATIBLE: Final = "pef,esm-blob"
VERSION: Final = 1
LOCKBOX: Final = re.compile(r"lockbox@[0-9a-f]+")
"""The name of a lockbox: numbered, in hexadecimal."""

PAYLOAD_CONTEXT: Final = b"pef,esm-blob payload version 1"

_NONCE_SIZE: Final = 12
_TAG_SIZE: Final = 16
_KEY_ID_SIZE: Final = 32
_SEALED_KEY_SIZE: Final = KEY_SIZE + KEY_SIZE + _TAG_SIZE
"""What HPKE makes of a payload key: an ephemeral public key, the key encrypted, a tag.

Invariant: what opens from so many bytes has `KEY_SIZE` bytes, so that isn't checked again.
"""


class MalformedBlob(Exception):
    """The blob, or the payload inside, doesn't have the form of one."""


class NoLockbox(Exception):
    """The blob was not sealed for this machine (UV_ESM: U_NO_KEY)."""


@dataclass(frozen=True, slots=True)
class OpenedBlob:
    """What the owner sealed: kernel size in bytes, digests to compare with, files by name."""

    kernel_size: int = field(repr=False)
    digests: Digests = field(repr=False)
    files: Mapping[str, bytes] = field(repr=False)


def open_blob(blob: bytes, key: MachineKey) -> OpenedBlob:
    """Open `blob` with this machine's `key`.

    Raises MalformedBlob, NoLockbox or TamperedBlob, and nothing else, whatever the bytes are.
    """
    try:
        root = _root(blob)
        lockboxes, payload = root.child("lockboxes"), root.child("payload")
        nonce, ciphertext = payload.value("nonce", _NONCE_SIZE), payload.value("ciphertext")
        sealed_key = _sealed_key(lockboxes, key.key_id)
    except MalformedDeviceTree as flaw:
        message = f"blob: {flaw}"
        raise MalformedBlob(message) from None
    payload_key = key.open_lockbox(sealed_key)
    try:
        opened = AESGCM(payload_key).decrypt(nonce, ciphertext, PAYLOAD_CONTEXT)
    except InvalidTag:
        message = "payload doesn't open"
        raise TamperedBlob(message) from None
    try:
        return _opened(opened)
    except MalformedDeviceTree as flaw:
        message = f"payload: {flaw}"
        raise MalformedBlob(message) from None


def _root(blob: bytes) -> Node:
    root = parse(blob, limit=BLOB_LIMIT, unique=True).root
    if root.text("compatible") != COMPATIBLE or root.cell32("version") != VERSION:
        message = f"blob: not {COMPATIBLE} version {VERSION}"
        raise MalformedBlob(message)
    return root


def _sealed_key(lockboxes: Node, key_id: bytes) -> bytes:
    """Return what is sealed for `key_id`; every lockbox must be well formed, ours or not."""
    sealed_keys: dict[bytes, bytes] = {}
    for lockbox in lockboxes.children:
        recipient = lockbox.value("recipient", _KEY_ID_SIZE)
        if not LOCKBOX.fullmatch(lockbox.name) or recipient in sealed_keys:
            message = "blob: lockboxes are misnamed or share a recipient"
            raise MalformedBlob(message)
        sealed_keys[recipient] = lockbox.value("sealed-key", _SEALED_KEY_SIZE)
    if key_id not in sealed_keys:
        message = f"none of {len(sealed_keys)} lockboxes is for this machine"
        raise NoLockbox(message)
    return sealed_keys[key_id]


def _opened(payload: bytes) -> OpenedBlob:
    root = parse(payload, limit=BLOB_LIMIT, unique=True).root
    digests, files = root.child("digests"), root.child("files")
    kernel_size = digests.cell64("kernel-size")
    if digests.text("algorithm") != "sha512" or kernel_size == 0:
        message = "payload: digests aren't sha512 or the kernel is empty"
        raise MalformedBlob(message)
    if len(files.properties) > FILES_LIMIT:
        message = f"payload: more than {FILES_LIMIT} files"
        raise MalformedBlob(message)
    if not all(len(name) <= FILE_NAME_LIMIT and FILE_NAME.fullmatch(name) for name in files.properties):
        message = f"payload: a file's name is not 1 to {FILE_NAME_LIMIT} printable ASCII characters"
        raise MalformedBlob(message)
    parts = {part: digests.value(part, DIGEST_SIZE) for part in PARTS}
    return OpenedBlob(kernel_size, Digests(**parts), files.properties)
