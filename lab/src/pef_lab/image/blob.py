"""The owner's side of the ESM blob: seal digests and files so that only chosen machines open them.

The form is the Ultravisor's to read and this module's to write; neither side imports the other.
Whether what is sealed is true of any guest is up to the caller: attacks seal digests that aren't.

    /            compatible = "pef,esm-blob", version = <1>
    /lockboxes/lockbox@N   recipient, sealed-key     (one for each machine)
    /payload               nonce, ciphertext         (a tree of /digests and /files, AES-256-GCM)
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from pef_lab.image import flat_tree
from pef_lab.image.flat_tree import FlatTree, cell32, cell64, text

COMPATIBLE = "pef,esm-blob"
VERSION = 1
LOCKBOX_CONTEXT = b"pef,esm-blob lockbox version 1"
PAYLOAD_CONTEXT = b"pef,esm-blob payload version 1"
PUBLIC_KEY_SIZE = 32
PAYLOAD_KEY_SIZE = 32
NONCE_SIZE = 12

_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


@dataclass(frozen=True, slots=True)
class Promise:
    """What the owner promises of a guest: kernel size in bytes, SHA-512 of each part (64 bytes)."""

    kernel_size: int
    kernel: bytes
    initrd: bytes
    bootargs: bytes
    rtas: bytes


def promise_of(*, kernel: bytes, initrd: bytes, bootargs: str, rtas: bytes) -> Promise:
    """Return the promise that these parts keep; `bootargs` counts without the NUL that ends it."""
    return Promise(
        kernel_size=len(kernel),
        kernel=hashlib.sha512(kernel).digest(),
        initrd=hashlib.sha512(initrd).digest(),
        bootargs=hashlib.sha512(bootargs.encode()).digest(),
        rtas=hashlib.sha512(rtas).digest(),
    )


def payload_tree(promise: Promise, files: Mapping[str, bytes]) -> bytes:
    """Return what gets sealed, in clear: a tree of the promise and the attached files by name."""
    digests = {
        "algorithm": text("sha512"),
        "kernel-size": cell64(promise.kernel_size),
        "kernel": promise.kernel,
        "initrd": promise.initrd,
        "bootargs": promise.bootargs,
        "rtas": promise.rtas,
    }
    return flat_tree.write(FlatTree({"/digests": digests, "/files": files}))


def seal_blob(
    *,
    recipients: Sequence[bytes],
    promise: Promise,
    files: Mapping[str, bytes],
    payload_key: bytes,
    nonce: bytes,
) -> bytes:
    """Seal `promise` and `files` for the machines whose raw X25519 public keys are `recipients`.

    `payload_key` (32 bytes) and `nonce` (12 bytes) must be fresh, both, for each content. The
    lockboxes differ from call to call whatever the arguments: HPKE draws a key of its own for each.
    """
    return seal_payload(
        recipients=recipients,
        payload=payload_tree(promise, files),
        payload_key=payload_key,
        nonce=nonce,
    )


def seal_payload(*, recipients: Sequence[bytes], payload: bytes, payload_key: bytes, nonce: bytes) -> bytes:
    """Seal the bytes `payload`, be they a tree or not, as `seal_blob` does."""
    lockboxes = {
        f"/lockboxes/lockbox@{number:x}": {
            "recipient": hashlib.sha256(recipient).digest(),
            "sealed-key": _sealed_key(payload_key, recipient),
        }
        for number, recipient in enumerate(recipients)
    }
    ciphertext = AESGCM(payload_key).encrypt(nonce, payload, PAYLOAD_CONTEXT)
    return flat_tree.write(
        FlatTree(
            {
                "/": {"compatible": text(COMPATIBLE), "version": cell32(VERSION)},
                "/lockboxes": {},
                **lockboxes,
                "/payload": {"nonce": nonce, "ciphertext": ciphertext},
            }
        )
    )


def _sealed_key(payload_key: bytes, recipient: bytes) -> bytes:
    try:
        return _SUITE.encrypt(payload_key, X25519PublicKey.from_public_bytes(recipient), info=LOCKBOX_CONTEXT)
    except ValueError:
        message = f"a machine's public key {recipient.hex()}: nothing can be sealed for it"
        raise ValueError(message) from None
