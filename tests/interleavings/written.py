"""Who wrote which bytes into which VM's page: kept beside the machines, which are never asked for it.

A value is what a page is known by, `KNOWN_BYTES`: a token of a kind, a tenant, a GFN and a serial number, and
zeroes. A page may hold what was written to it since its slot is there; one that was zeroed, zero.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, TypeAlias

from pef_explorer.actions.oracle import HOST, OPEN, SECRET
from pef_explorer.machines.small_memory import KNOWN_BYTES

ZERO: Final = bytes(KNOWN_BYTES)
_TOKEN: Final = 4

Place: TypeAlias = tuple[int, int]
"""A tenant and a GFN."""
Values: TypeAlias = Mapping[Place, bytes]


class Token(NamedTuple):
    """What a value says of itself."""

    kind: bytes
    tenant: int
    gfn: int


def token(kind: bytes, tenant: int, gfn: int, serial: int) -> bytes:
    """Return a value."""
    return kind + bytes([tenant, gfn + 1, serial]) + bytes(KNOWN_BYTES - _TOKEN)


def read(value: bytes) -> Token | None:
    """Return what a value says of itself; None where it is no token: ciphertext, or worse."""
    if value[:1] not in {SECRET, OPEN, HOST} or any(value[_TOKEN:]):
        return None
    return Token(value[:1], value[1], value[2] - 1)


class Written:
    """What each page may hold: `may`, by tenant and GFN."""

    def __init__(self) -> None:
        self.may: dict[Place, frozenset[bytes]] = {}
        self.serial = 0

    def new(self, kind: bytes, tenant: int, gfn: int) -> bytes:
        """Return a value that is nowhere yet."""
        self.serial += 1
        return token(kind, tenant, gfn, self.serial % 256)

    def begun(self, values: Values) -> None:
        """Note that somebody has begun to write."""
        for place, value in values.items():
            if place in self.may:
                self.may[place] |= {value}

    def done(self, values: Values, others: Iterable[Values]) -> None:
        """Note that somebody has written, while `others` were at it too: nothing older may be there."""
        for place, value in values.items():
            if place in self.may:
                self.may[place] = frozenset({value, *(each[place] for each in others if place in each)})

    def fresh(self, places: Iterable[Place]) -> None:
        """Note pages that are new: they read as zero."""
        self.may.update(dict.fromkeys(places, frozenset({ZERO})))

    def gone(self, tenant: int, gfns: Iterable[int] | None = None) -> None:
        """Forget pages of a tenant, or all of them."""
        chosen = None if gfns is None else set(gfns)
        for place in [place for place in self.may if place[0] == tenant]:
            if chosen is None or place[1] in chosen:
                del self.may[place]
