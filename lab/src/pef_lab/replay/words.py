"""The words for what was read: each page is known by a token, and a token by who wrote it last.

| word | the token is |
|---|---|
| `as written` | the one that was written last |
| `zero` | zero |
| `other` | anything else: an older one, another page's, ciphertext |
| `as written or other` | the one that was written last, before something that may have replaced the page; |
| | or the host's own, where it wrote over ciphertext |

From outside nobody can tell whether, when a page changes hands, what was written before still counts as its
content; so either word of a file is right there.
"""

from collections.abc import Iterable
from enum import Enum
from typing import Final

from pef_lab.replay.counterexample import ENDS

TOKEN_BYTES: Final = 8
ERRNOS: Final = frozenset({"ENOENT", "ENOMEM", "EFAULT", "EBUSY", "EINVAL", "EIO"})
"""By which the VMM's door refuses a read."""
AS_WRITTEN, ZERO, OTHER, REFUSED = "as written", "zero", "other", "refused"
EITHER: Final = f"{AS_WRITTEN} or {OTHER}"


class Fate(Enum):
    """What became of the last token that somebody wrote to a page."""

    OPEN = "nobody can tell from outside"
    WRITTEN = "it is what the page holds for its guest"
    ASTRAY = "it fell on ciphertext"


class Words:
    """Remembers which token was written last to each GFN of the small system, and its `fate`."""

    def __init__(self) -> None:
        self.fate: dict[int, Fate] = {}
        self._last: dict[int, set[bytes]] = {}
        self._open: dict[int, set[bytes]] = {}
        self._doubtful: set[int] = set()
        self._astray: set[bytes] = set()
        self._tokens = 0

    def new_token(self, gfn: int) -> bytes:
        """Return a token that somebody begins to write to `gfn`."""
        self._tokens += 1
        token = f"tok{self._tokens:05}".encode()
        self._open.setdefault(gfn, set()).add(token)
        self.fate[gfn] = Fate.OPEN
        return token

    def wrote(self, gfn: int, token: bytes) -> None:
        """Take note that `token` was written."""
        self._open[gfn].discard(token)
        self._last[gfn] = {token}
        self.fate[gfn] = Fate.WRITTEN
        self._doubtful.discard(gfn)

    def gave_up(self, gfn: int, token: bytes) -> None:
        """Take note that what was written as `token` is not what the page holds for its guest."""
        self._open[gfn].discard(token)
        self._astray.add(token)
        self.fate[gfn] = Fate.ASTRAY

    def doubt(self, gfns: Iterable[int]) -> None:
        """Take note that something else may stand in `gfns` now."""
        self._doubtful.update(gfns)

    def of(self, gfn: int, seen: bytes) -> str:
        """Return the word for a token that was read."""
        if seen == bytes(TOKEN_BYTES):
            return ZERO
        if seen in self._astray:
            return EITHER
        if seen not in self._last.get(gfn, set()) | self._open.get(gfn, set()):
            return OTHER
        return EITHER if gfn in self._doubtful else AS_WRITTEN


def agrees(said: str, seen: str) -> bool:
    """Tell whether what was seen is what the file says; a host read is refused by the name of an errno."""
    said, seen = said.removeprefix(ENDS), seen.removeprefix(ENDS)
    if seen == EITHER:
        return said in {AS_WRITTEN, OTHER, EITHER}
    return said == seen or (said == REFUSED and seen in ERRNOS)
