"""What the guest may find in its pages: kept beside the machines, from what was done and how it ended.

A token is eight bytes that say who wrote them and when. The oracle never reads a state column to learn
what a page should hold. It reads one to learn which page a write reached.
"""

from typing import Final, NamedTuple

from pef_explorer.machines.small_memory import KNOWN_BYTES, TOKEN_BYTES

ZERO: Final = bytes(TOKEN_BYTES)
BLANK: Final = bytes(KNOWN_BYTES)
SECRET, OPEN, HOST = b"g", b"p", b"h"
"""First byte of a token: the guest's in a page of its own, the guest's where others see it, the host's."""
SERIALS: Final = 4


class Memory(NamedTuple):
    """The oracle as a plain value: an element a GFN of both slots, and whether the guest runs secure."""

    may: tuple[frozenset[bytes], ...]
    tainted: tuple[bool, ...]
    absent: tuple[bool, ...]
    sealed: tuple[tuple[int, bytes], ...]
    secure: bool
    disclosed: frozenset[bytes]


class Oracle:
    """What each page may hold for the guest.

    `may[gfn]`: tokens, or ZERO. `tainted`: the host has written over the encrypted page. `absent`: the host
    has taken the shared page away and not shared it again. `sealed`: the counter and the bytes with which the
    page was last paged out. `disclosed`: tokens that the guest stored while it shared their page: others may
    see them.
    """

    def __init__(self, pages: int) -> None:
        self.may: list[frozenset[bytes]] = [frozenset({ZERO})] * pages
        self.tainted = [False] * pages
        self.absent = [False] * pages
        self.sealed = [(0, BLANK)] * pages
        self.secure = False
        self.disclosed = frozenset[bytes]()

    def frozen(self) -> Memory:
        """Return it as a plain value."""
        return Memory(
            tuple(self.may),
            tuple(self.tainted),
            tuple(self.absent),
            tuple(self.sealed),
            self.secure,
            self.disclosed,
        )

    def thaw(self, memory: Memory) -> None:
        """Become what it was."""
        self.may = list(memory.may)
        self.tainted = list(memory.tainted)
        self.absent = list(memory.absent)
        self.sealed = list(memory.sealed)
        self.secure, self.disclosed = memory.secure, memory.disclosed

    def is_new(self) -> None:
        """Become the memory of a VM that nobody has written to."""
        pages = len(self.may)
        self.may = [frozenset({ZERO})] * pages
        self.tainted, self.absent, self.secure = [False] * pages, [False] * pages, False

    def is_normal_again(self, *, all_may_be_lost: bool = False) -> None:
        """Let every page be lost that the host wrote over while it was out, and nothing be away any more."""
        pages = len(self.may)
        for gfn, tainted in enumerate(self.tainted):
            if tainted or all_may_be_lost:
                self.also(gfn, ZERO)
        self.tainted, self.absent = [False] * pages, [False] * pages

    def loses_its_svm(self) -> None:
        """Let every page be lost that was secure: the Ultravisor has died."""
        pages = len(self.may)
        self.may = [values | {ZERO} for values in self.may]
        self.tainted, self.absent, self.secure = [False] * pages, [False] * pages, False

    def key(self) -> tuple[object, ...]:
        """Return what makes this state differ from others; tokens count by their origin only."""
        return tuple(map(self.key_of, self.may)), tuple(self.tainted), tuple(self.absent), self.secure

    def key_of(self, values: frozenset[bytes]) -> tuple[int, bool, int]:
        """Return how many values there are, whether one is zero, and how many are secret."""
        return len(values), ZERO in values, sum(map(self.is_secret, values))

    def origin(self, gfn: int, page: bytes) -> bytes:
        """Return where the bytes of a page of `gfn` come from, in one or two letters."""
        if not page or page == BLANK:
            return page[:1]
        if page[TOKEN_BYTES:] == ZERO:
            if page[1] != gfn + 1:
                return page[:2]
            token = page[:TOKEN_BYTES]
            kind = SECRET if self.is_secret(token) else OPEN if token[:1] == SECRET else token[:1]
            return b"E" + kind if token in self.may[gfn] else kind
        return b"C" if page == self.sealed[gfn][1] else b"?"

    def is_secret(self, token: bytes) -> bool:
        """Tell whether the guest stored `token` in a page that nobody but itself could see."""
        return token[:1] == SECRET and token not in self.disclosed

    def new_token(self, kind: bytes, gfn: int, seen: frozenset[bytes]) -> bytes:
        """Return a token for `gfn` that neither may be found there nor is `seen` anywhere, if there is one.

        Only writes that were open together can use them all up.
        """
        tokens = [kind + bytes([gfn + 1, serial]) + bytes(TOKEN_BYTES - 3) for serial in range(1, SERIALS)]
        fresh = (token for token in tokens if token not in self.may[gfn] and token not in seen)
        token = next(fresh, tokens[-1])
        self.disclosed -= {token}
        return token

    def also(self, gfn: int, value: bytes) -> None:
        """Let `gfn` hold `value` too: somebody has begun to write it."""
        self.may[gfn] |= {value}

    def only(self, gfn: int, value: bytes) -> None:
        """Let `gfn` hold nothing but `value`."""
        self.may[gfn] = frozenset({value})
