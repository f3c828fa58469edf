"""Every counterexample that was found is what it says: over HTTP, step by step.

Those of the mutants need a pair that bears the mutant; where nobody honest brings it out they are made again
in one process only (see tests/unit/mutants/test_search.py).
"""

from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from mutants.served import served
from pef_lab.replay.counterexample import Counterexample, read
from pef_lab.replay.player import run_counterexample
from pef_lab.replay.verdict import bears_out
from pef_lab.replay.wire import Wire, wired
from pef_mutants.blind_spots import SEARCHED

pytestmark = [pytest.mark.sockets, pytest.mark.slow]

FOLDER = Path(__file__).parents[2] / "docs" / "counterexamples"
FILES = sorted(FOLDER.glob("*.json"))
OF_MUTANTS = sorted((FOLDER / "mutants").glob("*.json"))
OF_A_GFN_BY_NUMBER = {"D14"}
"""Over HTTP the GFNs of the small system are others: what is wrong with GFN 0 alone is not seen there."""
OF_NO_REAL_IMAGE = {"range-cut", "measured-gone"}
"""A real image has no two GFNs of the small system side by side, and lies in one slot."""
PLAYED = [
    file
    for file in OF_MUTANTS
    if SEARCHED[file.stem].triggered is nullcontext and file.stem not in OF_A_GFN_BY_NUMBER | OF_NO_REAL_IMAGE
]


@pytest.fixture(scope="module")
async def wire() -> AsyncIterator[Wire]:
    async with wired() as one:
        yield one


async def comes_out(found: Counterexample, wire: Wire) -> None:
    """Play a file; what differs is raised. The moment of the violation and the looks must have come.

    What was observed must bear the file out, as far as an observer can see its invariant.
    """
    replayed = await run_counterexample(found, wire)
    assert bears_out(found, replayed.breaches), replayed.breaches
    assert {str(gfn): states for gfn, states in replayed.tables.items()} == found.tables
    assert set(replayed.observations) >= {int(gfn) for gfn in found.observations}


def test_there_are_counterexamples_of_both_kinds() -> None:
    """Without files nothing below would be played."""
    assert FILES
    assert PLAYED


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.stem))
async def test_a_counterexample_comes_out_over_http_as_its_file_says(wire: Wire, file: Path) -> None:
    """Given the file of a counterexample.

    When its steps are played on real services,
    then tables and observations are those of the file.
    """
    found = read(file)
    assert found.mutant is None
    await comes_out(found, wire)


@pytest.mark.verify
@pytest.mark.parametrize("file", PLAYED, ids=lambda file: str(file.stem))
async def test_a_mutant_is_seen_over_http_as_its_file_says(file: Path) -> None:
    """Given the file of a mutant's counterexample.

    When its steps are played on services that bear the mutant,
    then tables and observations are those of the file.
    """
    found = read(file)
    assert found.mutant == file.stem
    with served(file.stem):
        async with wired() as wire:
            await comes_out(found.model_copy(update={"mutant": None}), wire)
