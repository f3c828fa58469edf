"""A path that is written as a counterexample is one: the same file for the steps of a file."""

import json
from pathlib import Path

import pytest

from pef_explorer.actions.move import GO_ON, GUESTS, Move
from pef_explorer.actions.table import ESM_FAILS, UV_ESM
from pef_explorer.machines.faults import Fault
from pef_explorer.plan import Part, Troubles
from pef_explorer.session.errors import NotPossible
from pef_explorer.session.export import mermaid
from pef_explorer.session.files import plan_of_session
from pef_explorer.session.session import Session
from pef_lab.replay import drawing
from pef_lab.replay.counterexample import Counterexample, read
from pef_protocol.designs import Design

FOLDER = Path(__file__).parents[4] / "docs" / "counterexamples"
FILES = sorted(FOLDER.glob("*.json"))
ESM = Move(GUESTS[0], UV_ESM)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.stem))
def test_the_steps_of_a_file_are_written_as_they_were(file: Path) -> None:
    found = read(file)
    session = Session.of_file(found)
    session.goto(found.violated_after)
    written = Counterexample.model_validate_json(json.dumps(session.counterexample()))
    assert (written.design, written.system) == (found.design, found.system)
    assert written.steps == found.steps
    assert written.observations == found.observations
    first = next(node for node in session.path() if node.made.broken)
    assert (written.violated_after, written.invariant) == (first.n, first.made.broken[0].invariant)
    if first.n == found.violated_after:
        assert written.tables == found.tables


def test_a_path_that_breaks_nothing_says_so() -> None:
    session = Session(plan_of_session(Design.TRACKED, (Part.BROUGHT,)))
    with pytest.raises(NotPossible, match="No move was made"):
        session.counterexample()
    session.move(ESM)
    session.run("quiescent")
    content = session.counterexample(command="a test", commit="abc1234")
    assert (content["invariant"], content["violated_after"]) == ("none", len(content["steps"]))
    assert content["found_by"] == {"command": "a test", "commit": "abc1234"}
    assert [step["action"] for step in content["steps"]].count(UV_ESM) == 1


def test_a_bad_image_is_one_action_of_that_name() -> None:
    session = Session(plan_of_session(Design.TRACKED, (Part.BROUGHT,)))
    session.move(Move(GUESTS[0], ESM_FAILS))
    session.run("quiescent")
    steps = session.counterexample()["steps"]
    assert [step["action"] for step in steps] == [ESM_FAILS, *[GO_ON] * (len(steps) - 1)]
    assert steps[-1]["leads_to"] == "ends U_PERMISSION"
    again = Session.of_file(Counterexample.model_validate_json(json.dumps(session.counterexample())))
    assert (again.stopped, again.run("end").ended) == ("", "ends U_PERMISSION")


def test_what_the_format_has_no_words_for_is_not_written() -> None:
    session = Session(plan_of_session(Design.TRACKED, (Part.BROUGHT,), troubles=Troubles(late=1)))
    session.move(ESM)
    session.move(Move(GUESTS[0], GO_ON, fault=Fault.KEPT))
    with pytest.raises(NotPossible, match=r"no words for the move 'guest 0: go on \(kept\)'"):
        session.counterexample()


def test_the_diagram_is_that_of_the_file() -> None:
    found = read(FOLDER / "broken-the-tables-agree.json")
    session = Session.of_file(found)
    session.run("end")
    assert [*mermaid(session.counterexample())] == [*drawing.mermaid(found)]
