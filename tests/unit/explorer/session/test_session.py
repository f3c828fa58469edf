"""A session is a tree of moves: what is at a node is the same however the cursor came there."""

from pathlib import Path

import pytest

from pef_explorer.actions.move import GO_ON, GUESTS, VMM, Move
from pef_explorer.actions.table import UV_ESM
from pef_explorer.machines.faults import Fault
from pef_explorer.plan import Part
from pef_explorer.session.errors import NotPossible, SessionFull
from pef_explorer.session.files import plan_of_session
from pef_explorer.session.session import Session
from pef_lab.replay.counterexample import Counterexample, read
from pef_protocol.designs import Design

FOLDER = Path(__file__).parents[4] / "docs" / "counterexamples"
BY_HAND = Path(__file__).parents[3] / "scenarios" / "counterexamples"
FILES = sorted(FOLDER.glob("*.json"))
VCPU = GUESTS[0]
IMAGE = (Part.BROUGHT, Part.UNMIGRATED)
ESM = Move(VCPU, UV_ESM)
ON = Move(VCPU, GO_ON)


def session_of(design: Design = Design.BROKEN, **named: object) -> Session:
    return Session(plan_of_session(design, IMAGE), **named)  # type: ignore[arg-type]


def file_of(name: str) -> Counterexample:
    return read(FOLDER / f"{name}.json")


def tables(session: Session) -> dict[str, tuple[str, str]]:
    return {str(gfn.first): (gfn.hypervisor, gfn.ultravisor) for gfn in session.frame().gfns}


def test_there_are_files() -> None:
    assert len(FILES) >= 31


@pytest.mark.parametrize("file", [*FILES, *sorted(BY_HAND.glob("*.json"))], ids=lambda file: str(file.stem))
def test_a_file_is_the_steps_of_a_session(file: Path) -> None:
    found = read(file)
    session = Session.of_file(found)
    assert (session.stopped, session.at, len(session.nodes)) == ("", 0, len(found.steps) + 1)
    assert [node.outcome for node in session.nodes[1:]] == [step.leads_to for step in found.steps]
    frame = session.goto(found.violated_after)
    assert tables(session) == found.tables
    assert frame.violated is (found.invariant != "none")
    if frame.violated:
        assert found.invariant in {each.invariant for each in session.nodes[session.at].made.broken}
        assert not {verdict.invariant: verdict.holds for verdict in frame.verdicts}[found.invariant]


def test_a_move_leads_to_a_node_and_back_to_its_parent() -> None:
    session = session_of()
    start = session.frame()
    first = session.move(ESM)
    assert (first.node, first.parent, first.nodes, first.quiescent) == (1, 0, 2, False)
    assert [(call.actor, call.waits_for) for call in first.calls] == [
        (VCPU, "ultravisor asks H_SVM_INIT_START")
    ]
    assert session.back() == start.model_copy(update={"children": (1,), "nodes": 2})
    assert session.forward() == first


def test_a_move_that_was_made_is_gone_to_and_another_one_is_a_branch() -> None:
    session = session_of()
    session.move(ESM)
    session.back()
    assert session.move(Move(VMM, "host write", 1)).node == 2
    session.back()
    assert session.move(ESM).node == 1
    assert session.nodes[0].children == [1, 2]
    session.goto(2)
    session.back()
    assert session.forward().node == 2


def test_a_move_that_is_not_possible_changes_nothing() -> None:
    session = session_of()
    before = session.frame()
    for move, reason in (
        (ON, "Guest 0 has nothing open to go on with."),
        (Move(VCPU, "share", 0), "The VM does not run secure, or no slot holds GFN 0."),
        (Move(VMM, "dance"), "There is no move 'vmm: dance' in this system."),
        (Move(VCPU, "load", 7), "There is no move 'guest 0: load 7' in this system."),
        (Move(VCPU, GO_ON, fault=Fault.LOST), "Guest 0 has nothing open to go on with."),
    ):
        with pytest.raises(NotPossible, match=reason.replace(".", r"\.")):
            session.move(move)
    assert session.frame() == before
    with pytest.raises(NotPossible):
        session.back()
    with pytest.raises(NotPossible):
        session.goto(1)
    with pytest.raises(NotPossible):
        session.forward()


def test_a_session_has_a_limit_of_moves() -> None:
    session = session_of(limit=1)
    session.move(ESM)
    with pytest.raises(SessionFull, match="it has 1 moves"):
        session.move(ON)
    assert session.at == 1


def test_phases_of_uv_esm_are_gone_on_with_one_by_one() -> None:
    session = session_of()
    session.move(ESM)
    labels = []
    for _ in range(40):
        frame = session.frame()
        if frame.ended:
            break
        going_on = next(move for move in frame.moves if move.action == GO_ON and move.fault is None)
        labels.append(going_on.label.removeprefix("guest 0: go on "))
        session.move(ON)
    assert [label for label in labels if label[1:].split()[0] not in {"deliver", "read", "move"}] == [
        "(pages of the image)",
        "(measurement)",
        "(all other pages)",
        "(H_SVM_INIT_DONE)",
    ]
    assert session.frame().ended == "ends U_SUCCESS"
    assert session.frame().vm.ultravisor == "SECURE"


def test_a_bad_image_is_chosen_at_the_beginning() -> None:
    session = session_of(Design.TRACKED)
    session.move(Move(VCPU, "UV_ESM with a bad image"))
    frame = session.run("quiescent")
    assert (frame.ended, frame.vm.ultravisor, frame.violated) == ("ends U_PERMISSION", "no SVM", False)


def test_a_rule_says_what_is_allowed() -> None:
    session = session_of(allowed=lambda move: "only guests act in this lesson" if move.actor == VMM else "")
    reasons = {choice.why_not for choice in session.choices() if choice.move.actor == VMM}
    assert "only guests act in this lesson" in reasons
    with pytest.raises(NotPossible, match="Only guests act in this lesson"):
        session.move(Move(VMM, "host write", 1))


def test_the_same_moves_on_another_design() -> None:
    session = Session.of_file(file_of("broken-the-tables-agree"))
    assert session.run("violation").node == 12
    on_tracked = session.copy(design=Design.TRACKED)
    assert (on_tracked.plan.design, on_tracked.at, on_tracked.frame().violated) == (Design.TRACKED, 12, False)
    again = session.copy()
    assert again.frame().violated
    assert again.path_moves() == session.path_moves()


def test_a_copy_says_where_and_why_it_ended() -> None:
    session = Session.of_file(file_of("broken-the-guest-finds-what-it-wrote"))
    session.run("end")
    copied = session.copy(design=Design.TRACKED)
    assert copied.stopped == (
        "Stopped before move 8 of 20 (memory: go on): Memory has nothing open to go on with."
    )
    assert copied.at == 7


def test_runs_go_along_what_was_made() -> None:
    session = Session.of_file(file_of("broken-the-guest-finds-what-it-wrote"))
    assert session.run("quiescent").node == 1
    assert session.run("quiescent").node == 13
    session.goto(0)
    assert session.run("violation").node == 13
    assert session.run("violation").node == 20
    with pytest.raises(NotPossible, match="breaks an invariant"):
        session.run("violation")
    with pytest.raises(NotPossible, match="No move was made"):
        session.run("end")
    with pytest.raises(NotPossible, match="Nothing is open"):
        session.run("quiescent")
