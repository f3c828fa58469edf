"""Canaries: random bytes that fill pages, and the search for them wherever somebody might have put them.

All canaries of a flock begin with the same random bytes, so one pass over a memory finds any of them.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from pef_protocol.quantities import PAGE_SIZE

CANARY_BYTES: Final = 32
PREFIX_BYTES: Final = 16


@dataclass(slots=True)
class Flock:
    """Canaries by what they stand for."""

    prefix: bytes = field(default_factory=lambda: secrets.token_bytes(PREFIX_BYTES))
    names: dict[bytes, str] = field(default_factory=dict)

    def page(self, name: str) -> bytes:
        """Return a page full of a new canary."""
        canary = self.prefix + secrets.token_bytes(CANARY_BYTES - PREFIX_BYTES)
        self.names[canary] = name
        return canary * (PAGE_SIZE // CANARY_BYTES)

    def found(self, where: str, content: bytes) -> set[str]:
        """Return which canaries `content` holds, as they are or as hexadecimal digits, and where."""
        found = set()
        for form, prefix in (("", self.prefix), (" in hexadecimal", self.prefix.hex().encode())):
            factor = 2 if form else 1
            at = content.find(prefix)
            while at >= 0:
                seen = content[at : at + factor * CANARY_BYTES]
                canary = _plain(seen) if form else seen
                found.add(f"{self.names.get(canary, 'a part of a canary')} in {where}{form}")
                at = content.find(prefix, at + factor * CANARY_BYTES)
        return found

    def in_all(self, contents: Iterable[tuple[str, bytes]]) -> set[str]:
        """Return which canaries are in any of the named contents, and in which."""
        return {each for where, content in contents for each in self.found(where, content)}


def _plain(digits: bytes) -> bytes:
    try:
        return bytes.fromhex(digits.decode("ascii"))
    except ValueError:
        return b""
