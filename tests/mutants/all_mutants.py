"""All mutants there are, by id: those of real firmware and kernel, those made by rule, those made by hand."""

from collections.abc import Mapping
from typing import Final

from mutants import hv_by_hand, hv_host, uv_by_hand
from mutants.checks import FORGETS, SWAPS
from mutants.generated import GeneratedMutant
from mutants.hv_cells import GFN_CELLS, VM_CELLS
from mutants.meddling import MEDDLING
from mutants.registry import MUTANTS, Mutant
from mutants.uv_cells import CELLS

GENERATED: Final[tuple[GeneratedMutant, ...]] = (*FORGETS, *SWAPS, *CELLS, *GFN_CELLS, *VM_CELLS, *MEDDLING)
NAMED: Final[tuple[Mutant, ...]] = (
    *MUTANTS.values(),
    *uv_by_hand.BY_HAND,
    *hv_by_hand.BY_HAND,
    *hv_host.BY_HAND,
)
ALL_MUTANTS: Final[Mapping[str, Mutant]] = {mutant.id: mutant for mutant in (*NAMED, *GENERATED)}
assert len(ALL_MUTANTS) == len(NAMED) + len(GENERATED), "two mutants have the same id"
