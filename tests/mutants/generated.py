"""Mutants whose fault lies in one place, as those that are made by rule, one for each place of its kind."""

from dataclasses import dataclass
from fnmatch import fnmatchcase

from mutants.registry import Applied, Mutant
from pef_protocol.events import Side


@dataclass(frozen=True, slots=True)
class GeneratedMutant(Mutant):
    """A mutant whose fault lies in one place: rows elsewhere have nothing to say of it.

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
