"""The key pair of one machine: an ESM blob has a lockbox for it, or does not open here.

HPKE (RFC 9180) is X25519, HKDF-SHA256 and AES-256-GCM in base mode.

Source: UV_ESM steps 6 to 8, with HPKE in place of the TPM.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

LOCKBOX_CONTEXT: Final = b"pef,esm-blob lockbox version 1"
KEY_SIZE: Final = 32
ENTROPY_SIZE: Final = 32
_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class TamperedBlob(Exception):
    """The lockbox of this machine, or the payload, doesn't open (UV_ESM: U_PERMISSION)."""


@dataclass(frozen=True, slots=True)
class MachineKey:
    """The key pair of one machine. The private half leaves this object by no method and no repr."""

    _private: X25519PrivateKey = field(repr=False, compare=False)
    public_bytes: bytes = field(init=False, repr=False)
    """The raw X25519 public key, 32 bytes: what a blob is sealed for."""
    key_id: bytes = field(init=False)
    """SHA-256 of `public_bytes`: how a lockbox names its recipient."""

    def __post_init__(self) -> None:
        public_bytes = self._private.public_key().public_bytes_raw()
        object.__setattr__(self, "public_bytes", public_bytes)
        object.__setattr__(self, "key_id", hashlib.sha256(public_bytes).digest())

    @classmethod
    def generate(cls, entropy: bytes) -> "MachineKey":
        """Make a key pair from `entropy`, 32 bytes or more; the same bytes make the same pair."""
        if len(entropy) < ENTROPY_SIZE:
            message = f"a machine key needs at least {ENTROPY_SIZE} bytes of entropy"
            raise ValueError(message)
        expand = HKDF(hashes.SHA256(), KEY_SIZE, salt=None, info=b"pef machine key version 1")
        return cls.from_private_bytes(expand.derive(entropy))

    @classmethod
    def from_private_bytes(cls, private: bytes) -> "MachineKey":
        """Take the raw X25519 private key `private`; ValueError unless it has 32 bytes."""
        if len(private) != KEY_SIZE:
            message = f"a machine's private key has {KEY_SIZE} bytes"
            raise ValueError(message)
        return cls(X25519PrivateKey.from_private_bytes(private))

    def open_lockbox(self, sealed_key: bytes) -> bytes:
        """Return the payload key inside `sealed_key`; TamperedBlob where it doesn't open."""
        try:
            return _SUITE.decrypt(sealed_key, self._private, info=LOCKBOX_CONTEXT)
        except InvalidTag:
            message = "lockbox doesn't open"
            raise TamperedBlob(message) from None
