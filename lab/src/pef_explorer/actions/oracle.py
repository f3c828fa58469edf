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


class Oracle:
    """What each page may hold for the guest.

    `may[gfn]`: tokens, or ZERO. `tainted`: the host has written over the encrypted page. `absent`: the host
    has taken the shared page away and not shared it again. `sealed`: the counter and the bytes with which the
    page was last paged out.
    """

    def __init__(self, pages: int) -> None:
        self.may: list[frozenset[bytes]] = [frozenset({ZERO})] * pages
        self.tainted = [False] * pages
        self.absent = [False] * pages
        self.sealed = [(0, BLANK)] * pages
        self.secure = False

    def frozen(self) -> Memory:
        """Return it as a plain value."""
        return Memory(
            tuple(self.may), tuple(self.tainted), tuple(self.absent), tuple(self.sealed), self.secure
        )

    def thaw(self, memory: Memory) -> None:
        """Become what it was."""
        self.may = list(memory.may)
        self.tainted = list(memory.tainted)
        self.absent = list(memory.absent)
        self.sealed = list(memory.sealed)
        self.secure = memory.secure

    def is_new(self) -> None:
        """Become the memory of a VM that nobody has written to."""
        pages = len(self.may)
        self.may = [frozenset({ZERO})] * pages
        self.tainted, self.absent, self.secure = [False] * pages, [False] * pages, False

    def loses_its_svm(self) -> None:
        """Let every page be lost that was secure: the Ultravisor has died."""
        pages = len(self.may)
        self.may = [values | {ZERO} for values in self.may]
        self.tainted, self.absent, self.secure = [False] * pages, [False] * pages, False

    def key(self) -> tuple[object, ...]:
        """Return what makes this state differ from others; tokens count by their origin only."""
        values = tuple((len(each), ZERO in each) for each in self.may)
        return values, tuple(self.tainted), tuple(self.absent), self.secure

    def origin(self, gfn: int, page: bytes) -> bytes:
        """Return where the bytes of a page of `gfn` come from, in one or two letters."""
        if not page or page == BLANK:
            return page[:1]
        if page[TOKEN_BYTES:] == ZERO:
            if page[1] != gfn + 1:
                return page[:2]
            return b"E" if page[:TOKEN_BYTES] in self.may[gfn] else page[:1]
        return b"C" if page == self.sealed[gfn][1] else b"?"

    def new_token(self, kind: bytes, gfn: int, seen: frozenset[bytes]) -> bytes:
        """Return a token for `gfn` that neither may be found there nor is `seen` anywhere, if there is one.

        Only writes that were open together can use them all up.
        """
        tokens = [kind + bytes([gfn + 1, serial]) + bytes(TOKEN_BYTES - 3) for serial in range(1, SERIALS)]
        fresh = (token for token in tokens if token not in self.may[gfn] and token not in seen)
        return next(fresh, tokens[-1])

    def also(self, gfn: int, value: bytes) -> None:
        """Let `gfn` hold `value` too: somebody has begun to write it."""
        self.may[gfn] |= {value}

    def only(self, gfn: int, value: bytes) -> None:
        """Let `gfn` hold nothing but `value`."""
        self.may[gfn] = frozenset({value})
