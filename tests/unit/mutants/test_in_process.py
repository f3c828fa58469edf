"""A mutant in the machines of a session: it is there while they run, and nowhere else."""

from functools import partial
from pathlib import Path

import pytest

from pef_explorer.session.session import Session
from pef_lab.failures import WrongInput
from pef_lab.replay.counterexample import read
from pef_mutants.blind_spots import SEARCHED
from pef_mutants.in_process import mutated

FOLDER = Path(__file__).parents[3] / "docs" / "counterexamples" / "mutants"
FILES = sorted(FOLDER.glob("*.json"))


def test_there_are_files() -> None:
    assert {file.stem for file in FILES} <= set(SEARCHED)
    assert len(FILES) >= 26


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.stem))
def test_a_file_of_a_mutant_is_the_steps_of_a_session(file: Path) -> None:
    found = read(file)
    session = Session.of_file(found, mutated=partial(mutated, file.stem))
    assert (session.stopped, session.mutant) == ("", file.stem)
    assert [node.outcome for node in session.nodes[1:]] == [step.leads_to for step in found.steps]
    frame = session.goto(found.violated_after)
    assert {str(gfn.first): (gfn.hypervisor, gfn.ultravisor) for gfn in frame.gfns} == found.tables
    assert found.invariant in {each.invariant for each in session.nodes[session.at].made.broken}
    session.goto(0)
    assert session.goto(found.violated_after) == frame


def test_without_the_mutant_the_session_says_so() -> None:
    session = Session.of_file(read(FOLDER / "K4.json"))
    assert session.stopped == "The file needs the deliberate fault K4 in the machines, which is not put in."
    assert len(session.nodes) == 1


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(WrongInput, match="there is no mutant 'K99'; there are D2b, "), mutated("K99"):
        raise AssertionError("not reached")
