"""All mutants there are, by id: those of real firmware and kernel, those made by rule, those made by hand."""

from collections.abc import Mapping
from typing import Final

from pef_mutants.blind_spots import BLIND_SPOTS
from pef_mutants.checks import FORGETS, SWAPS
from pef_mutants.hypervisor import by_hand as of_hypervisor
from pef_mutants.hypervisor import host
from pef_mutants.hypervisor.cells import GFN_CELLS, VM_CELLS
from pef_mutants.meddling import MEDDLING
from pef_mutants.mutant import GeneratedMutant, Mutant
from pef_mutants.registry import MUTANTS
from pef_mutants.ultravisor import by_hand as of_ultravisor
from pef_mutants.ultravisor.cells import CELLS

GENERATED: Final[tuple[GeneratedMutant, ...]] = (*FORGETS, *SWAPS, *CELLS, *GFN_CELLS, *VM_CELLS, *MEDDLING)
NAMED: Final[tuple[Mutant, ...]] = (
    *MUTANTS.values(),
    *of_ultravisor.BY_HAND,
    *of_hypervisor.BY_HAND,
    *host.BY_HAND,
)
ALL_MUTANTS: Final[Mapping[str, Mutant]] = {mutant.id: mutant for mutant in (*NAMED, *GENERATED)}
"""Those that the rows judge."""
APPLICABLE: Final[Mapping[str, Mutant]] = {**ALL_MUTANTS, **BLIND_SPOTS}
"""Those that a service can have."""
