"""Measurement of a guest before it becomes secure: SHA-512 of the four parts that decide what runs.

Only these parts are measured. Whatever else the guest holds when it becomes secure is zeroes, or
bytes that nobody vouches for.

Source: UV_ESM step 8 ("SHA-512 of RTAS text, kernel, initrd, bootargs compared"). May not know
where the parts lie, nor what follows from a difference.
"""

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Final, TypeAlias

Content: TypeAlias = bytes | bytearray | memoryview
"""A part as it lies in memory: a contiguous memoryview is measured in place, without a copy."""

DIGEST_SIZE: Final = hashlib.sha512().digest_size
PARTS: Final = ("kernel", "initrd", "bootargs", "rtas")


@dataclass(frozen=True, slots=True)
class Digests:
    """The SHA-512 of each part, 64 bytes each; kept out of every repr, as they may come sealed."""

    kernel: bytes = field(repr=False)
    initrd: bytes = field(repr=False)
    bootargs: bytes = field(repr=False)
    rtas: bytes = field(repr=False)

    def __post_init__(self) -> None:
        for part in PARTS:
            if len(getattr(self, part)) != DIGEST_SIZE:
                message = f"digest of {part}: not {DIGEST_SIZE} bytes"
                raise ValueError(message)


def measure(*, kernel: Content, initrd: Content, bootargs: Content, rtas: Content) -> Digests:
    """Return the digests of the four parts.

    `kernel` is as long as the blob's kernel-size says; `bootargs` is the text without its NUL;
    `rtas` is the whole RTAS area. Long parts are hashed without holding the interpreter lock.
    """
    return Digests(
        kernel=hashlib.sha512(kernel).digest(),
        initrd=hashlib.sha512(initrd).digest(),
        bootargs=hashlib.sha512(bootargs).digest(),
        rtas=hashlib.sha512(rtas).digest(),
    )


def differing(measured: Digests, expected: Digests) -> tuple[str, ...]:
    """Return the names of the parts whose digests differ, in the order of `PARTS`; empty: a match.

    Trust: each comparison takes the same time whatever the digests are, and all four are made.
    """
    return tuple(
        part for part in PARTS if not hmac.compare_digest(getattr(measured, part), getattr(expected, part))
    )
