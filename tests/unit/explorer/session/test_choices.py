"""Each action of each actor is listed, what can be made first; what can't be has a reason."""

from collections.abc import Iterator

import pytest

from pef_explorer.actions.move import GO_ON, GUESTS, MEMORY, VMM, Move
from pef_explorer.actions.table import ESM_FAILS, UV_ESM
from pef_explorer.machines.faults import Fault
from pef_explorer.plan import NO_TROUBLES, Extra, Part, Troubles
from pef_explorer.session.choices import REASONS
from pef_explorer.session.files import plan_of_session
from pef_explorer.session.session import Session
from pef_explorer.world.possible_moves import possible_moves
from pef_explorer.world.world import World
from pef_protocol.designs import Design

VCPU = GUESTS[0]
ESM, ON = Move(VCPU, UV_ESM), Move(VCPU, GO_ON)
EXTRAS = frozenset({Extra.RANGE, Extra.OLD_CIPHERTEXT})


def session_of(
    *moves: Move, vcpus: int = 1, extras: frozenset[Extra] = frozenset(), troubles: Troubles = NO_TROUBLES
) -> Session:
    plan = plan_of_session(Design.TRACKED, (Part.BROUGHT, Part.UNMIGRATED), 1, vcpus, extras, troubles)
    session = Session(plan)
    for move in moves:
        session.step(move)
    return session


def labels(session: Session, *, action: str | None = None) -> list[str]:
    possible = [each for each in session.choices() if not each.why_not]
    return [each.label for each in possible if action is None or each.move.action == action]


def test_every_action_is_listed_once_and_numbered() -> None:
    choices = session_of(vcpus=2, extras=EXTRAS).choices()
    assert [each.n for each in choices] == [*range(1, len(choices) + 1)]
    assert len({each.move for each in choices}) == len(choices)
    assert [bool(each.why_not) for each in choices] == sorted(bool(each.why_not) for each in choices)
    world = World(session_of(vcpus=2, extras=EXTRAS).plan)
    named = {move for move, action, _ in world.starts if action.name not in {"create", "destroy + create"}}
    entering = {Move(guest, name) for guest in GUESTS for name in (UV_ESM, ESM_FAILS)}
    assert {each.move for each in choices} == named | entering


def test_every_reason_is_a_sentence_of_its_own() -> None:
    assert len(set(REASONS.values())) == len(REASONS)
    session = session_of(ESM)
    reasons = {each.move: each.why_not for each in session.choices()}
    assert reasons[Move(VCPU, "load", 0)] == "guest 0 is at work on UV_ESM"
    assert reasons[Move(VMM, "hot-remove")] == "slot 1 is not plugged in"
    assert reasons[Move(MEMORY, "unmap", 2)] == "no slot holds GFN 2"


def walked() -> Iterator[Session]:
    """Yield a session at each step of two calls that meet."""
    session = session_of(Move(VCPU, "store", 1), ESM)
    yield session
    for move in (ON, Move(MEMORY, "page out", 1), ON, ON, ON, ON, ON, ON):
        session.step(move)
        yield session


def test_whatever_the_search_may_do_a_person_may() -> None:
    """A `go on` between two phases of UV_ESM is the search's UV_ESM."""
    for session in walked():
        _, world = session.here()
        possible = {each.move for each in session.choices() if not each.why_not}
        standing = {move.actor for move in possible if move.action == GO_ON} - world.open.keys()
        for move, _ in possible_moves(world):
            phase = move.actor in standing and move.action in {UV_ESM, ESM_FAILS}
            assert (Move(move.actor, GO_ON) if phase else move) in possible


def test_a_person_may_do_more_than_the_search() -> None:
    """A call on another GFN can begin beside one that is open: the search leaves that out."""
    session = session_of(ESM)
    session.run("quiescent")
    session.step(Move(VCPU, "share", 0))
    other = Move(MEMORY, "page out", 1)
    _, world = session.here()
    assert other not in {move for move, _ in possible_moves(world)}
    assert session.move(other).node == session.at


def test_a_request_on_its_way_may_be_refused_answered_busy_doubled_or_lost() -> None:
    assert labels(session_of(ESM), action=GO_ON) == [
        "guest 0: go on (deliver H_SVM_INIT_START)",
        "guest 0: go on (refuse H_SVM_INIT_START)",
        "guest 0: go on (answer H_SVM_INIT_START busy)",
        "guest 0: go on (deliver H_SVM_INIT_START twice)",
        "guest 0: go on (lose H_SVM_INIT_START)",
    ]
    session = session_of(ESM, ON, ON)
    assert labels(session, action=GO_ON) == ["guest 0: go on (read U_SUCCESS)"]


def test_troubles_of_the_wire_and_deaths_are_listed_where_they_are_switched_on() -> None:
    session = session_of(ESM, troubles=Troubles(1, 1, 2, 0))
    assert "guest 0: go on (deliver H_SVM_INIT_START, and keep a copy)" in labels(session)
    session.step(ON._replace(fault=Fault.KEPT))
    assert "network: H_SVM_INIT_START arrives again 0" in labels(session)
    assert {"ultravisor: dies", "hypervisor: dies"} <= set(labels(session))
    session.goto(0)
    session.step(Move("ultravisor", "dies"))
    reasons = {each.move: each.why_not for each in session.choices()}
    assert reasons[ESM] == "the two sides share no epoch: a hello is due"
    assert "hypervisor: hello" in labels(session)


@pytest.mark.parametrize(
    ("moves", "reason"),
    [((ESM,), "at work on UV_ESM"), ((ESM, *[ON] * 4), "at work on UV_ESM")],
)
def test_a_vcpu_in_uv_esm_does_nothing_else(moves: tuple[Move, ...], reason: str) -> None:
    choices = session_of(*moves).choices()
    own = [each for each in choices if each.move.actor == VCPU and each.move.action != GO_ON]
    assert own
    assert all(reason in each.why_not for each in own)
