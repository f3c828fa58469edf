"""The verdicts of a frame: broken once, broken from there on; what is not judged says so."""

from pathlib import Path

from pef_explorer.actions.move import GO_ON, GUESTS, Move
from pef_explorer.actions.table import UV_ESM
from pef_explorer.machines.faults import Fault
from pef_explorer.plan import Part
from pef_explorer.session.files import plan_of_session
from pef_explorer.session.picture import NOT_AFTER_A_FAULT, NOT_JUDGED
from pef_explorer.session.session import Session
from pef_lab.replay.counterexample import read
from pef_protocol.designs import Design

FOLDER = Path(__file__).parents[4] / "docs" / "counterexamples"


def test_what_was_broken_stays_so_and_before_it_was_whole() -> None:
    session = Session.of_file(read(FOLDER / "broken-the-guest-finds-what-it-wrote.json"))
    frame = session.frame()
    for node, violated in ((12, False), (13, True), (14, True), (20, True)):
        frame = session.goto(node)
        (agree,) = (each for each in frame.verdicts if each.invariant == "the_tables_agree")
        assert (frame.violated, agree.holds, agree.node) == (violated, not violated, 13 if violated else None)
    assert len(frame.verdicts) == 20


def test_what_a_fault_leaves_unjudged_says_so() -> None:
    session = Session(plan_of_session(Design.TRACKED, (Part.BROUGHT,)))
    session.move(Move(GUESTS[0], UV_ESM))
    assert not any(each.sentence for each in session.frame().verdicts)
    frame = session.move(Move(GUESTS[0], GO_ON, fault=Fault.LOST))
    assert {each.invariant for each in frame.verdicts if each.sentence == NOT_JUDGED} == NOT_AFTER_A_FAULT
    assert all(each.holds for each in frame.verdicts)
