"""The frame of a node: what the machines show there, and what is known of the path that led there."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final, Protocol

from pef_explorer.invariants import INVARIANTS
from pef_explorer.plan import Plan
from pef_explorer.search.expansion import NO_ANSWER
from pef_explorer.session.choices import Choice
from pef_explorer.session.frame import (
    ARROWS,
    PATH,
    Frame,
    PathStep,
    ShownCost,
    ShownMove,
    ShownSystem,
    Verdict,
)
from pef_explorer.session.node import Node
from pef_explorer.session.showing import calls_of, gfns_of, vm_of
from pef_explorer.world.world import World

NAMES: Final = (*(each.__name__ for each in INVARIANTS), NO_ANSWER)
NOT_AFTER_A_FAULT: Final = frozenset(
    {"the_tables_agree", "an_error_changes_neither_side", "what_is_asked_succeeds"}
)
"""Invariants that say nothing once a message went wrong on its way."""
NOT_JUDGED: Final = "Not judged any more: a message went wrong on its way."


class Whole(Protocol):
    """What a frame needs of the session."""

    plan: Plan
    nodes: list[Node]
    stopped: str
    lesson: str | None


def frame_of(tree: Whole, node: Node, path: list[Node], world: World, choices: list[Choice]) -> Frame:
    """Return the frame of a node at which `world` is; `path` leads there from the start."""
    made, plan = node.made, tree.plan
    arrows = sum(len(each.made.arrows) for each in path)
    verdicts = tuple(_verdicts(path))
    frame = Frame(
        node=node.n,
        parent=node.parent,
        children=tuple(node.children),
        nodes=len(tree.nodes),
        design=plan.design,
        system=ShownSystem(image=tuple(part.value for part in plan.image), plug=plan.plug, vcpus=plan.vcpus),
        vm=vm_of(world),
        gfns=gfns_of(world, quiescent=made.quiescent),
        calls=tuple(calls_of(world, made.begun)) if not made.dead else (),
        arrows=tuple(chain.from_iterable(each.made.arrows for each in path[-ARROWS:]))[-ARROWS:],
        arrows_before=max(arrows - ARROWS, 0),
        moves=tuple(map(_shown, choices)),
        moves_left_out=0,
        path=tuple(PathStep(node=each.n, label=each.label, outcome=each.outcome) for each in path[-PATH:]),
        path_before=max(len(path) - PATH, 0),
        verdicts=verdicts,
        cost=ShownCost(
            ultracalls=made.cost.ultracalls,
            hypercalls=made.cost.hypercalls,
            gfns=made.cost.gfns,
            bytes=made.cost.bytes,
        ),
        quiescent=made.quiescent,
        violated=not all(verdict.holds for verdict in verdicts),
        ended=made.outcome if made.outcome.startswith("ends") else "",
        stopped=tree.stopped,
        lesson=tree.lesson,
    )
    return frame.bounded()


def _shown(choice: Choice) -> ShownMove:
    move = choice.move
    return ShownMove(
        n=choice.n,
        actor=move.actor,
        action=move.action,
        gfn=None if move.gfn < 0 else move.gfn,
        fault=move.fault.value if move.fault else None,
        label=choice.label,
        why_not=choice.why_not,
    )


def _verdicts(path: Iterable[Node]) -> Iterator[Verdict]:
    """Yield each invariant: broken where it was first, not judged where it says nothing, or whole."""
    first: dict[str, tuple[str, int]] = {}
    faulty = False
    for node in path:
        faulty = node.made.faulty
        for invariant, sentence in node.made.broken:
            first.setdefault(invariant, (sentence, node.n))
    for name in NAMES:
        if name in first:
            sentence, node_number = first[name]
            yield Verdict(invariant=name, holds=False, sentence=sentence, node=node_number)
        else:
            sentence = NOT_JUDGED if faulty and name in NOT_AFTER_A_FAULT else ""
            yield Verdict(invariant=name, holds=True, sentence=sentence)
