"""The counterexamples of the mutants, made again here: they violate an invariant with the mutant only.

This is the proof that the explorer can see (`python -m mutants.search` writes the files).
Source: issue 3, point 4.
"""

from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path

import pytest

from mutants.search import SWITCHED_ON, plans, search
from pef_explorer.actions.move import Move
from pef_explorer.actions.table import ESM_FAILS, UV_ESM
from pef_explorer.invariants import EVERY_CALL_ENDS, INVARIANTS
from pef_explorer.plan import IMAGES, Plan
from pef_explorer.search.counterexample import comes_again
from pef_explorer.search.search import Violation
from pef_explorer.session.files import plan_of
from pef_explorer.session.session import Session
from pef_lab.replay.counterexample import Counterexample, read
from pef_mutants.blind_spots import BLIND_SPOTS, SEARCHED
from pef_protocol.designs import Design

pytestmark = pytest.mark.verify

FOLDER = Path(__file__).parents[3] / "docs" / "counterexamples" / "mutants"
FILES = sorted(FOLDER.glob("*.json"))
NAMES = {EVERY_CALL_ENDS, *(each.__name__ for each in INVARIANTS)}
AT_LEAST = {"D2b", "D7", "D8", "D10", "D12", "D14", "K1", "K2", "K3", "K4", "K5", "K6", "K10", "K11"}
"""The defects that the issue wants to be found."""


def test_every_defect_that_must_be_found_was_found() -> None:
    assert (AT_LEAST | BLIND_SPOTS.keys()) - {file.stem for file in FILES} == set()


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.stem))
def test_a_mutant_falls_and_sound_code_does_not(file: Path) -> None:
    found, mutant = read(file), SEARCHED[file.stem]
    assert (found.mutant, found.design, found.invariant in NAMES) == (file.stem, Design.TRACKED, True)
    assert found.found_by.command == f"python -m mutants.search {file.stem}"
    with mutant.triggered():
        with ExitStack() as mutated:
            mutated.enter_context(mutant.applied())
            again = Session.of_file(found, mutated=nullcontext)
            assert [node.outcome for node in again.nodes[1:]] == [step.leads_to for step in found.steps]
            gfns = again.goto(found.violated_after).gfns
            assert {str(gfn.first): (gfn.hypervisor, gfn.ultravisor) for gfn in gfns} == found.tables
            violations = [*endings(found, again.own_moves())]
            assert any(comes_again(plan_of(found), violation) for violation in violations)
        assert not any(comes_again(plan_of(found), violation) for violation in violations)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "faults", "invariant"),
    [
        ("one-iv", 0, "no_iv_comes_twice"),
        ("imported-kept", 1, "no_plaintext_outside"),
        ("D12", 0, "a_page_in_gives_back_the_page_out"),
    ],
)
def test_the_search_finds_what_it_once_passed_over(name: str, faults: int, invariant: str) -> None:
    """D12 needs a host that acts between two phases of UV_ESM: else a message has to fail, too."""
    systems = [plan for plan in plans(triggered=False) if plan.faults == faults and len(plan.image) == 1]
    if faults:
        systems = [plan for plan in systems if plan.calls == 1]
    found = search(name, systems)
    assert (found.invariant, found.faults) == (invariant, faults)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "invariant"),
    [
        ("older-taken", "a_page_in_gives_back_the_page_out"),
        ("other-taken", "a_page_in_gives_back_the_page_out"),
        ("range-cut", "the_guest_finds_what_it_wrote"),
        ("measured-gone", "both_sides_have_the_same_slots"),
    ],
)
def test_what_is_switched_on_shows_what_nothing_else_does(name: str, invariant: str) -> None:
    """The same systems without it: nothing is found with one call at a time."""
    assert search(name).invariant == invariant
    _, plug = SWITCHED_ON[name]
    usual = [Plan(Design.TRACKED, image, plug, calls=1) for image in IMAGES[1]]
    assert search(name, usual).invariant == ""


def endings(found: Counterexample, moves: tuple[Move, ...]) -> Iterator[Violation]:
    """Yield the fall with and without phases of UV_ESM at its end: a file tells them with the step before."""
    yield Violation(found.invariant, found.sentence, moves)
    while moves[-1].action in {UV_ESM, ESM_FAILS}:
        moves = moves[:-1]
        yield Violation(found.invariant, found.sentence, moves)
