"""Faults that the search once passed over: each shows that the explorer sees by now what it did not.

They are not promises of the protocol's rows, for no message tells them; so no row is asked to kill them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pef_mutants.answers import nothing
from pef_mutants.exchange import attribute, only_in
from pef_mutants.mutant import Mutant
from pef_mutants.registry import MUTANTS
from pef_protocol.events import Side
from pef_ultravisor.from_guest import esm
from pef_ultravisor.memory.sealing import Sealer


@contextmanager
def imported_kept() -> Iterator[None]:
    """Keep the mark IMPORTED when the VM becomes secure: aborted later, it hands its pages out in clear."""
    with only_in(esm, "clear_imported", nothing):
        yield


@contextmanager
def one_iv() -> Iterator[None]:
    """Seal every page with the same IV; the counter goes on."""
    original = Sealer._bound

    def bound(sealer: Sealer, gfn: int, _: int) -> tuple[bytes, bytes]:
        return original(sealer, gfn, 1)

    with attribute(Sealer, "_bound", bound):
        yield


BLIND_SPOTS: Final = {
    mutant.id: mutant
    for mutant in (
        Mutant(
            "imported-kept",
            Side.ULTRAVISOR,
            'the mark "imported" outlives UV_ESM, so that an aborted SVM gives its pages back in clear',
            imported_kept,
        ),
        Mutant("one-iv", Side.ULTRAVISOR, "every page is sealed with the same IV", one_iv),
    )
}
"""By id."""
SEARCHED: Final = {**MUTANTS, **BLIND_SPOTS}
"""All that the search looks for: the defects of real firmware and kernel, and these."""
