"""A row: one promise of the protocol that a subject keeps or breaks, and what was found when it was played.

| id | is |
|---|---|
| `uv/page-in/ra` | a rung of a call's ladder; `uv/page-in/ra:zero` where there are several ways to be wrong |
| `uv/page-in/order/order<ra` | two rungs wrong at once: the first decides |
| `uv/page-in/success` | the call as it should be |
| `gfn/SHARED_INV/page-inval` | a cell of the Ultravisor's states by operations |
| `vm/transient/init-start`, `life/secure/share` | cells of the life cycles of a VM and of a GFN |

A row says what it expects before it is played, and compares it with what somebody outside saw.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from pef_lab.rows.stage import Stage
from pef_lab.rows.subject import Evidence, Subject


class Level(StrEnum):
    """How binding a row is. EITHER: the document is silent, and what was seen is kept, not judged."""

    MUST = "must"
    SHOULD = "should"
    EITHER = "either"


class Kind(StrEnum):
    """What a row is made from."""

    SUCCESS = "success"
    RUNG = "rung"
    PAIR = "pair of rungs"
    CODE = "later code"
    CELL = "cell"
    VM_LIFE = "VM life cycle"
    GFN_LIFE = "GFN life cycle"


class Verdict(StrEnum):
    """What came of a row."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    SKIPPED = "skipped"
    WAIVED = "waived"
    ERROR = "harness error"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was expected and what was seen; `unchanged` tells how it is known that nothing else happened."""

    expected: str
    observed: str
    agrees: bool
    unchanged: Evidence | None = None


ALONE: Final = "needs one side alone: we have to play the other"


@dataclass(frozen=True, slots=True)
class Row:
    """One row. `of` are the subjects on which it can be played; on others of its sides it is skipped.

    `patient` marks a row that waits until the subject's own patience is at an end: such rows are played
    beside each other, so they may not look at a digest of the whole side.
    """

    id: str
    kind: Kind
    call: str
    clause: str
    of: frozenset[Subject]
    play: Callable[[Stage], Awaitable[Finding]] = field(repr=False)
    level: Level = Level.MUST
    patient: bool = False


@dataclass(frozen=True, slots=True)
class Played:
    """A row with its verdict; `cause` says why where it is neither pass nor fail."""

    row: Row
    verdict: Verdict
    finding: Finding | None = None
    cause: str = ""
    seconds: float = 0.0
