"""A frame is bounded: what is old goes first, then what is not possible; nothing possible goes."""

import json

from pef_explorer.actions.move import GUESTS, Move
from pef_explorer.plan import Extra, Part
from pef_explorer.session.files import plan_of_session
from pef_explorer.session.frame import ARROWS, GROWS, MOST_BYTES, PATH, Frame
from pef_explorer.session.session import Session
from pef_protocol.designs import Design

KEYS = {
    *("stage", "node", "parent", "children", "nodes", "design", "system", "vm", "gfns", "calls", "arrows"),
    *("arrows_before", "moves", "moves_left_out", "path", "path_before", "verdicts", "cost", "quiescent"),
    *("violated", "ended", "stopped", "lesson"),
}


def a_long_walk(moves: int = 100) -> Frame:
    """Go far in the largest system that there is."""
    extras = frozenset({Extra.RANGE, Extra.OLD_CIPHERTEXT})
    session = Session(plan_of_session(Design.TRACKED, (Part.BROUGHT,) * 8, 8, 2, extras))
    for place in range(moves):
        session.step(Move(GUESTS[0], "store", place % 8))
    return session.frame()


def test_a_frame_has_these_keys_and_arrows_say_from_and_to() -> None:
    content = json.loads(a_long_walk(3).as_json())
    assert set(content) == KEYS
    assert {"from", "to"} <= set(content["arrows"][0])
    assert content["gfns"][0]["joint"] == "agrees"


def test_what_is_too_much_is_left_out_and_counted() -> None:
    frame = a_long_walk()
    assert frame.size <= MOST_BYTES
    assert len(frame.as_json()) <= 10_240
    assert len(frame.arrows) + frame.arrows_before == 200
    assert len(frame.path) + frame.path_before == 101
    assert len(frame.moves) + frame.moves_left_out > 100
    assert (frame.arrows[-1].node, frame.path[-1].node) == (100, 100)


def test_what_is_left_out_does_not_depend_on_what_is_made_elsewhere() -> None:
    session = Session(plan_of_session(Design.TRACKED, (Part.BROUGHT, Part.UNMIGRATED)))
    nodes = [session.move(Move(GUESTS[0], "store", place % 2)) for place in range(30)][::3]
    for frame in nodes:
        for choice in session.choices():
            session.goto(frame.node)
            if not choice.why_not:
                session.step(choice.move)
    for frame in nodes:
        again = session.goto(frame.node)
        assert len(again.children) > 15
        assert again.model_copy(update=GROWS) == frame.model_copy(update=GROWS)


def test_a_usual_frame_has_every_move() -> None:
    session = Session(plan_of_session(Design.TRACKED, (Part.BROUGHT, Part.UNMIGRATED)))
    for place in range(60):
        session.step(Move(GUESTS[0], "store", place % 2))
    frame = session.frame()
    assert frame.size <= MOST_BYTES
    assert len(frame.as_json()) <= 10_240
    assert (frame.moves_left_out, len(frame.moves)) == (0, len(session.choices()))
    assert len(frame.arrows) <= ARROWS
    assert len(frame.path) <= PATH
