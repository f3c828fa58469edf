"""Wherever the cursor goes, and however: the frame at a node is always the same bytes, and not too long."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pef_explorer.actions.move import GO_ON, GUESTS, Move
from pef_explorer.actions.table import UV_ESM
from pef_explorer.plan import NO_TROUBLES, Part, Troubles
from pef_explorer.search.expansion import NO_ANSWER
from pef_explorer.session.errors import NotPossible
from pef_explorer.session.files import plan_of_session
from pef_explorer.session.frame import GROWS, Frame
from pef_explorer.session.position import EVERY
from pef_explorer.session.session import Session
from pef_hypervisor.dispatch import Hypervisor
from pef_kit.core.effects import Backoff, Operation
from pef_lab.replay.counterexample import read
from pef_protocol.designs import Design

FOLDER = Path(__file__).parents[4] / "docs" / "counterexamples"
MOST_BYTES = 10_240
IMAGES = ((Part.BROUGHT, Part.UNMIGRATED), (Part.SHARED, Part.UNMIGRATED), (Part.BROUGHT,))


def bytes_of(frame: Frame) -> bytes:
    assert len(frame.as_json()) <= MOST_BYTES
    return frame.model_copy(update=GROWS).as_json()


def walk(session: Session, draw: random.Random, moves: int, *, faults: bool) -> Iterator[Frame]:
    """Make moves, mostly forward, and go back and elsewhere in between; yield each frame."""
    for _ in range(moves):
        chance = draw.random()
        if chance < 0.15 and session.at:
            yield session.back()
        elif chance < 0.25:
            yield session.goto(draw.randrange(len(session.nodes)))
        else:
            possible = [each.move for each in session.choices() if not each.why_not]
            possible = [each for each in possible if faults or each.fault is None]
            going_on = [each for each in possible if each.action == GO_ON]
            if not possible:
                continue
            yield session.move(draw.choice(going_on if going_on and draw.random() < 0.6 else possible))


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 1 << 30),
    design=st.sampled_from([Design.TRACKED, Design.BROKEN, Design.PUSHED]),
    image=st.sampled_from(IMAGES),
    vcpus=st.integers(1, 2),
    troubles=st.sampled_from([NO_TROUBLES, Troubles(2, 2, 1, 1)]),
)
def test_the_frame_at_a_node_is_always_the_same(
    seed: int, design: Design, image: tuple[Part, ...], vcpus: int, troubles: Troubles
) -> None:
    session = Session(plan_of_session(design, image, 1, vcpus, troubles=troubles))
    seen: dict[int, bytes] = {0: bytes_of(session.frame())}
    for frame in walk(session, random.Random(seed), 50, faults=True):
        assert seen.setdefault(frame.node, bytes_of(frame)) == bytes_of(frame)
    for node in random.Random(seed).sample(sorted(seen), len(seen)):
        assert bytes_of(session.goto(node)) == seen[node]


def violations(design: Design, vcpus: int) -> int:
    """Count the frames that show a violation on random walks without a fault."""
    return sum(
        frame.violated
        for seed in range(6)
        for frame in walk(
            Session(plan_of_session(design, IMAGES[seed % 3], 1, vcpus)),
            random.Random(seed),
            60,
            faults=False,
        )
    )


@pytest.mark.parametrize("vcpus", [1, 2])
def test_a_sound_design_breaks_nothing_however_many_calls_are_open(vcpus: int) -> None:
    assert violations(Design.TRACKED, vcpus) == 0


def test_on_the_same_walks_an_unsound_one_does() -> None:
    assert violations(Design.BROKEN, 1) > 0


def test_a_vcpu_is_refused_while_the_uv_esm_of_another_one_stands_and_nothing_is_broken() -> None:
    session = Session(plan_of_session(Design.TRACKED, IMAGES[0], vcpus=2))
    session.move(Move(GUESTS[1], UV_ESM))
    while session.nodes[session.at].outcome != "suspended":
        session.move(Move(GUESTS[1], GO_ON))
    frame = session.move(Move(GUESTS[0], "load", 0))
    assert (frame.ended, frame.violated) == ("ends refused", False)


def test_what_only_a_file_asks_for_is_refused_and_nothing_is_broken() -> None:
    session = Session(plan_of_session(Design.TRACKED, IMAGES[0]))
    session.step(Move(GUESTS[0], "load", 2), listed=False)
    frame = session.frame()
    assert (frame.ended, frame.violated) == ("ends refused", False)


def test_a_page_that_was_lost_stays_lost() -> None:
    """Once a page was seen to hold other bytes, each load says so: it is not taken for what was written."""
    session = Session.of_file(read(FOLDER / "broken-the-guest-finds-what-it-wrote.json"))
    session.run("end")
    assert session.frame().gfns[1].guest_page == "other"
    for _ in range(2):
        assert session.move(Move(GUESTS[0], "load", 1)).ended == "ends other"


def test_states_are_kept_every_so_many_moves_and_no_more() -> None:
    session = Session(plan_of_session(Design.TRACKED, IMAGES[0]))
    for _ in range(3 * EVERY):
        session.move(Move(GUESTS[0], "store", 0))
    kept = [node.n for node in session.path() if node.saved is not None]
    assert kept == [0, EVERY, 2 * EVERY, 3 * EVERY]


def raising(*_: Any, **__: Any) -> Operation[Any]:
    """Raise what is no answer, once it is let go on."""
    yield Backoff(0)
    message = "it fell over"
    raise ZeroDivisionError(message)


def test_a_machine_that_raises_is_a_verdict_and_the_session_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(plan_of_session(Design.TRACKED, IMAGES[0]))
    before = session.frame()
    session.move(Move(GUESTS[0], UV_ESM))
    session.goto(0)
    with monkeypatch.context() as patch:
        patch.setattr(Hypervisor, "host_read", raising)
        session.move(Move("vmm", "host read", 0))
        frame = session.move(Move("vmm", GO_ON))
        (broken,) = (verdict for verdict in frame.verdicts if not verdict.holds)
        assert (broken.invariant, broken.sentence) == (NO_ANSWER, "ZeroDivisionError: it fell over")
        assert (frame.moves, frame.quiescent, frame.path[-1].outcome) == ((), False, "no answer")
        with pytest.raises(NotPossible, match="A machine has given no answer here: go back"):
            session.move(Move(GUESTS[0], UV_ESM))
        with pytest.raises(NotPossible):
            session.run("quiescent")
        session.goto(1)
        assert session.goto(3) == frame
    assert bytes_of(session.goto(0)) == bytes_of(before)
    assert session.move(Move("vmm", "host write", 0)).ended == "ends OK"
