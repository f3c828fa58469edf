"""What a mutant is: one deliberate fault of one side, with an id, a sentence, and how it is applied."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeAlias

from pef_protocol.events import Side

Applied: TypeAlias = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Mutant:
    """A deliberate fault of one side, and a sentence of what it is.

    `applied` puts it into this process, and takes it out at the end. `triggered` is what has to be done
    beside it where nobody honest ever does what brings it out (see `pef_mutants.triggered`).
    """

    id: str
    side: Side
    sentence: str
    applied: Applied
    triggered: Applied = nullcontext


@dataclass(frozen=True, slots=True)
class GeneratedMutant(Mutant):
    """A mutant whose fault lies in one place, as those made by rule: only rows about that place can see it.

    The rows about the place are those whose ids fit one of the patterns `ids`.
    """

    ids: tuple[str, ...] = ()

    def concerns(self, row_id: str) -> bool:
        """Tell whether a row is about the place of the fault."""
        return any(fnmatchcase(row_id, each) for each in self.ids)


def by_hand(side: Side, name: str, sentence: str, applied: Applied, *ids: str) -> Mutant:
    """Return a mutant that all rows of its side judge, or those of `ids`, even if they wait."""
    prefix = {Side.ULTRAVISOR: "uv", Side.HYPERVISOR: "hv"}[side]
    if ids:
        return GeneratedMutant(f"{prefix}/{name}", side, sentence, applied, ids=ids)
    return Mutant(f"{prefix}/{name}", side, sentence, applied)
