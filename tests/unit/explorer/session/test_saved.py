"""A session that is saved and read again is the same tree, with the same frames."""

import json
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest

from pef_explorer.actions.move import GO_ON, GUESTS, VMM, Move
from pef_explorer.actions.table import UV_ESM
from pef_explorer.machines.faults import Fault
from pef_explorer.plan import Extra, Part, Troubles
from pef_explorer.session.files import plan_of_session
from pef_explorer.session.saved import of_saved, saved
from pef_explorer.session.session import Session
from pef_lab.failures import WrongInput
from pef_protocol.designs import Design

ESM, ON = Move(GUESTS[0], UV_ESM), Move(GUESTS[0], GO_ON)


def a_tree(**named: Any) -> Session:
    """Make a session of two branches, with a fault; its cursor is in the middle."""
    plan = plan_of_session(
        Design.PUSHED, (Part.BROUGHT,), 1, 2, frozenset({Extra.OLD_CIPHERTEXT}), Troubles(late=1)
    )
    session = Session(plan, **named)
    for move in (ESM, ON, Move(GUESTS[0], GO_ON, fault=Fault.BUSY)):
        session.move(move)
    session.goto(1)
    session.move(Move(VMM, "host write", 0))
    session.goto(2)
    return session


def test_what_is_saved_is_read_as_the_same() -> None:
    session = a_tree(limit=50)
    session.lesson = "7"
    content = json.loads(json.dumps(saved(session)))
    again = of_saved(content)
    assert saved(again) == content
    assert [again.goto(node.n) for node in again.nodes] == [session.goto(node.n) for node in session.nodes]
    assert (again.plan, again.limit, again.lesson) == (session.plan, 50, "7")


def test_a_session_with_a_mutant_needs_it() -> None:
    content = saved(a_tree(mutant="K4"))
    with pytest.raises(WrongInput, match="needs the deliberate fault K4"):
        of_saved(content)
    asked: list[str] = []

    def mutants(name: str) -> AbstractContextManager[None]:
        asked.append(name)
        return nullcontext()

    assert of_saved(content, mutants=mutants).mutant == "K4"
    assert set(asked) == {"K4"}


def test_a_session_may_have_so_many_moves_and_no_more() -> None:
    content = saved(a_tree())
    assert of_saved(content, most=4).limit == 4
    with pytest.raises(WrongInput, match="the session has 4 moves, where 3 are the most"):
        of_saved(content, most=3)


def changed(**changes: object) -> dict[str, Any]:
    return {**saved(a_tree()), **changes}


A_MOVE = {"parent": 0, "actor": "guest 0", "action": "UV_ESM"}


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ([], "not a session: its format is not pef-session/1"),
        ({"format": "pef-session/2"}, "a session of another version: 'pef-session/2'"),
        (changed(design="fastest"), "design: "),
        (changed(at=99), "at: There is no node 99."),
        (changed(limit=0), "limit: "),
        (changed(system={"image": []}), "system.image: "),
        (changed(more=1), "more: "),
        (changed(nodes=[{**A_MOVE, "parent": 7}]), "node 1: There is no node 7."),
        (changed(nodes=[{**A_MOVE, "action": "go on"}]), "node 1: Guest 0 has nothing open to go on with."),
        (changed(nodes=[A_MOVE, A_MOVE], at=0), "node 2: it is node 1 once more"),
        (changed(limit=1, nodes=[A_MOVE, {**A_MOVE, "parent": 1, "action": "go on"}], at=0), "node 2: The"),
    ],
)
def test_what_is_no_session_is_one_line(content: object, line: str) -> None:
    with pytest.raises(WrongInput) as refused:
        of_saved(content)
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)
