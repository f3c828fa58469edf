"""Random walks of moves, back and forward: the frame of a node is always the same bytes."""

import random
from typing import Any, Final

import pytest

from console.shown_page import ShownPage, of_node

STEPS: Final = 20
DESIGNS: Final = ("broken", "tracked", "pushed-fixed")


def step(page: ShownPage, chance: random.Random, frame: dict[str, Any]) -> None:
    """Make a move, go back or go forward, by the keyboard, and see where it leads."""
    kinds = [
        "move",
        *(["back"] if frame["parent"] is not None else []),
        *(["forward"] if frame["children"] else []),
    ]
    kind = chance.choice(kinds)
    if kind == "move":
        page.type_number(chance.choice([move["n"] for move in frame["moves"] if not move["why_not"]]))
    else:
        page.press({"back": "k", "forward": "j"}[kind])
    page.wait("node => document.body.dataset.node !== String(node)", frame["node"])
    if kind == "back":
        assert page.node == frame["parent"]
    if kind == "forward":
        assert page.node in frame["children"]


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_node_always_shows_the_same_frame(page: ShownPage, design: str, seed: int) -> None:
    page.open(design=design)
    chance = random.Random(seed)
    frame = page.frame()
    seen = {0: of_node(frame)}
    again = 0
    for _ in range(STEPS):
        step(page, chance, frame)
        frame = page.frame()
        again += page.node in seen
        assert seen.setdefault(page.node, of_node(frame)) == of_node(frame)
    assert len(seen) > 3
    assert again > 3


def test_going_back_and_forward_again_gives_the_same_frame(page: ShownPage) -> None:
    page.open(file="broken-the-tables-agree")
    frames = [of_node(page.frame())]
    for node in range(1, 13):
        page.press_to("j", node)
        frames.append(of_node(page.frame()))
    for node in range(11, -1, -1):
        page.press_to("k", node)
        assert of_node(page.frame()) == frames[node]
    page.press_to("e", 12)
    assert of_node(page.frame()) == frames[12]


def test_a_fork_begins_with_the_same_tables_and_leaves_the_first_session_alone(page: ShownPage) -> None:
    page.open(file="broken-the-tables-agree")
    for node in range(1, 6):
        page.press_to("j", node)
    first, tables = page.part("s"), [page.states(side) for side in ("hypervisor", "ultravisor")]
    page.press("f")
    page.wait("first => !location.hash.includes(first)", first)
    assert [page.states(side) for side in ("hypervisor", "ultravisor")] == tables
    page.make("guest 0", "go on")
    frame = page.context.request.get(f"{page.console.origin}/api/v1/sessions/{first}").json()
    assert frame["node"] == 5
