"""A whole session as JSON, and back: the system, and the tree as the moves that made it.

    {"format": "pef-session/1", "design": "broken", "system": {"image": ["brought"], "plug": 1, "vcpus": 1},
     "extras": [], "troubles": [0, 0, 0, 0], "mutant": null, "lesson": null, "limit": 1000, "at": 2,
     "nodes": [{"parent": 0, "actor": "guest 0", "action": "UV_ESM", "gfn": null, "fault": null,
                "through": false}, …]}

`nodes` has what led to the nodes 1, 2 and so on. No state is written down: the moves are made again.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError

from pef_explorer.actions.move import VM, Move
from pef_explorer.machines.faults import Fault
from pef_explorer.plan import NO_TROUBLES, Extra, Part, Troubles
from pef_explorer.session.files import plan_of_session
from pef_explorer.session.node import Node
from pef_explorer.session.session import LIMIT, Session
from pef_explorer.session.tree import Rule
from pef_lab.failures import WrongInput
from pef_lab.known_designs import known_name
from pef_protocol.designs import DesignName

FORMAT: Final = "pef-session/1"
MOST: Final = 10_000
"""Moves of a session that is read, at most."""


class _Words(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SavedSystem(_Words):
    """The small system."""

    image: Annotated[tuple[Part, ...], Field(min_length=1, max_length=8)]
    plug: Annotated[int, Field(ge=0, le=8)] = 1
    vcpus: Annotated[int, Field(ge=1, le=2)] = 1


class SavedMove(_Words):
    """What led to a node."""

    parent: Annotated[int, Field(ge=0)]
    actor: Annotated[str, Field(max_length=40)]
    action: Annotated[str, Field(max_length=80)]
    gfn: Annotated[int, Field(ge=0, le=1000)] | None = None
    fault: Fault | None = None
    through: bool = False

    @property
    def move(self) -> Move:
        """Return it as a move."""
        return Move(self.actor, self.action, VM if self.gfn is None else self.gfn, self.fault)


class SavedSession(_Words):
    """A session as a plain value."""

    format: Literal["pef-session/1"]
    design: Annotated[DesignName, PlainValidator(known_name)]
    system: SavedSystem
    extras: tuple[Extra, ...] = ()
    troubles: Troubles = NO_TROUBLES
    mutant: str | None = None
    lesson: str | None = None
    limit: Annotated[int, Field(ge=1, le=MOST)] = LIMIT
    at: Annotated[int, Field(ge=0)] = 0
    nodes: Annotated[tuple[SavedMove, ...], Field(max_length=MOST)] = ()


def saved(session: Session) -> dict[str, Any]:
    """Return a session as JSON has it."""
    plan = session.plan
    system = SavedSystem(image=plan.image, plug=plan.plug, vcpus=plan.vcpus)
    content = SavedSession(
        format=FORMAT,
        design=plan.design,
        system=system,
        extras=tuple(sorted(plan.extras)),
        troubles=plan.troubles,
        mutant=session.mutant,
        lesson=session.lesson,
        limit=session.limit,
        at=session.at,
        nodes=tuple(map(_written, session.nodes[1:])),
    )
    return content.model_dump(mode="json")


def of_saved(
    content: object,
    *,
    allowed: Rule | None = None,
    most: int = MOST,
    mutants: Callable[[str], AbstractContextManager[None]] | None = None,
) -> Session:
    """Return the session that was saved; raise WrongInput, in one line, where it is none.

    `most`: moves that it may have, at most. `mutants` puts the mutant of a name in; without it, a session
    with one is refused.
    """
    written = _read(content)
    system = written.system
    plan = plan_of_session(
        written.design,
        system.image,
        system.plug,
        system.vcpus,
        frozenset(written.extras),
        written.troubles,
    )
    name = written.mutant
    if name is not None and mutants is None:
        raise WrongInput(f"the session needs the deliberate fault {name}, which is not put in here")
    mutated = {} if name is None or mutants is None else {"mutated": lambda: mutants(name)}
    if len(written.nodes) > most:
        raise WrongInput(f"the session has {len(written.nodes)} moves, where {most} are the most")
    session = Session(plan, limit=min(written.limit, most), allowed=allowed, mutant=name, **mutated)
    session.lesson = written.lesson
    session.make_tree([(each.parent, each.move, each.through) for each in written.nodes], written.at)
    return session


def _read(content: object) -> SavedSession:
    version = str(content.get("format", "")) if isinstance(content, dict) else ""
    if not version.startswith("pef-session/"):
        raise WrongInput(f"not a session: its format is not {FORMAT}")
    if version != FORMAT:
        raise WrongInput(f"a session of another version: {version!r:.60}, where {FORMAT} is read here")
    try:
        return SavedSession.model_validate(content)
    except ValidationError as refusal:
        first = refusal.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        why = " ".join(first["msg"].removeprefix("Value error, ").split())
        raise WrongInput(f"{where + ': ' if where else ''}{why}") from None


def _written(node: Node) -> SavedMove:
    move, parent = node.move, node.parent
    if move is None or parent is None:
        raise AssertionError("the start is not written")
    return SavedMove(
        parent=parent,
        actor=move.actor,
        action=move.action,
        gfn=None if move.gfn == VM else move.gfn,
        fault=move.fault,
        through=node.through,
    )
