"""The path to the cursor of a session as a counterexample file, and as a Mermaid diagram."""

import json
from collections.abc import Iterator
from typing import Any, Final, get_args

from pef_explorer.actions.move import Move
from pef_explorer.plan import Plan
from pef_explorer.search.counterexample import (
    FORMAT,
    Recording,
    observations_of,
    system_of,
    tables_of,
)
from pef_explorer.session.errors import NotPossible
from pef_explorer.session.node import Node, label_of
from pef_explorer.world.world import World
from pef_lab.replay import counterexample as file
from pef_lab.replay import drawing
from pef_lab.replay.verdict import NO_INVARIANT

BREAKS_NOTHING: Final = "it breaks nothing"
ACTORS: Final = frozenset(get_args(file.Actor))
ACTIONS: Final = frozenset(get_args(file.ActionName))
FAULTS: Final = frozenset(get_args(file.Fault))


def content_of(
    plan: Plan, path: list[Node], *, mutant: str | None, command: str, commit: str
) -> dict[str, Any]:
    """Return a path, with what it breaks first, as the content of a counterexample file.

    The moves are made once more. What is open after the last one is let end, and guest and host read every
    page. Raise NotPossible where a move has no word in the format, or nothing was done.
    """
    moves = [node for node in path if node.move is not None]
    for node in moves:
        _require_words(node)
    if not moves:
        raise NotPossible("No move was made that could be written down.")
    violated = next((node for node in moves if node.made.broken), moves[-1])
    invariant, sentence = _named(violated)
    recording = Recording(World(plan))
    violated_after, tables = 0, dict[str, list[str]]()
    for node in moves:
        for move in node.made.moves:
            recording.make(move)
        if node is violated:
            violated_after, tables = len(recording.steps), tables_of(recording.world)
    observations = observations_of(recording) if recording.let_end() else {}
    return {
        "format": FORMAT,
        "title": f"{plan.design}: {invariant.replace('_', ' ')}",
        "design": plan.design,
        "mutant": mutant,
        "invariant": invariant,
        "sentence": sentence,
        "found_by": {"command": command, "commit": commit},
        "system": system_of(plan),
        "steps": recording.steps,
        "violated_after": violated_after,
        "tables": tables,
        "observations": observations,
    }


def mermaid(content: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a Mermaid sequence diagram of the content of a counterexample file."""
    yield from drawing.mermaid(file.Counterexample.model_validate_json(json.dumps(content)))


def _named(node: Node) -> tuple[str, str]:
    return node.made.broken[0] if node.made.broken else (NO_INVARIANT, BREAKS_NOTHING)


def _require_words(node: Node) -> None:
    move: Move | None = node.move
    if move is None or node.made.dead:
        raise NotPossible("A counterexample file has no words for a move that a machine did not answer.")
    known = move.actor in ACTORS and move.action in ACTIONS
    if not known or (move.fault is not None and move.fault.value not in FAULTS):
        raise NotPossible(f"A counterexample file has no words for the move {label_of(move)!r}.")
