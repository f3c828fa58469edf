"""Moves as lines of text: `guest 0: store 1`, `vmm: go on (refused)`, `guest 0: UV_ESM ...`.

A line begins an action or goes on with one. With `...` at its end the actor goes on until its action ends.
"""

import re
from collections.abc import Iterable
from typing import Final

from pef_explorer.actions.move import GO_ON, VM, Move
from pef_explorer.machines.faults import Fault
from pef_explorer.session.session import Session

TO_ITS_END: Final = " ..."
MOST_STEPS: Final = 100
"""Steps that an action gets to end in."""
LINE: Final = re.compile(r"(?P<actor>[^:]+): (?P<action>.+?)(?: (?P<gfn>\d+))?(?: \((?P<fault>[^)]+)\))?")


def move_of(line: str) -> Move:
    """Return the move of a line; raise ValueError where it is none."""
    found = LINE.fullmatch(line)
    if found is None:
        message = f"not a move: {line!r}"
        raise ValueError(message)
    gfn = VM if found["gfn"] is None else int(found["gfn"])
    return Move(found["actor"], found["action"], gfn, Fault(found["fault"]) if found["fault"] else None)


def make_moves(session: Session, lines: Iterable[str]) -> None:
    """Make the moves of lines in a session; raise NotPossible where one is not possible."""
    for line in lines:
        move = move_of(line.removesuffix(TO_ITS_END))
        session.move(move)
        steps = 0
        while line.endswith(TO_ITS_END) and not session.nodes[session.at].outcome.startswith("ends"):
            steps += 1
            if steps > MOST_STEPS:
                message = f"{line!r} does not end"
                raise ValueError(message)
            session.move(Move(move.actor, GO_ON))
