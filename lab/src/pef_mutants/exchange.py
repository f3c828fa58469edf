"""How a fault is put into the running code and taken out again: a function, a constant, cells of a table.

A name that one module imports from another is held by both, and a handler also by a table of handlers; so a
function is exchanged wherever a module of ours holds it.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from enum import IntEnum
from types import ModuleType
from typing import Any, Final, TypeVar

import pef_ultravisor.dispatch  # noqa: F401 - functions are exchanged in loaded modules only
from pef_hypervisor.designs import DESIGNS
from pef_hypervisor.gfn.table import GfnCell, GfnEvent
from pef_kit.core.table import Cell, Table
from pef_protocol.states import HvGfnState

StateT = TypeVar("StateT", bound=IntEnum)
EventT = TypeVar("EventT", bound=IntEnum)
ActionT = TypeVar("ActionT", bound=IntEnum)

PREFIX: Final = "pef_"
THIS_PACKAGE: Final = "pef_mutants"


@contextmanager
def everywhere(original: Callable[..., Any], replacement: Callable[..., Any]) -> Iterator[None]:
    """Have every module that holds `original`, by a name or in a table of its own, hold `replacement`.

    At the end a module that was loaded meanwhile holds `original`, too. One replacement may stand for several
    originals at once.
    """
    others = {(id(holder), key) for holder, key in _holders(replacement)}
    for holder, key in list(_holders(original)):
        holder[key] = replacement
    try:
        yield
    finally:
        for holder, key in list(_holders(replacement)):
            if (id(holder), key) not in others:
                holder[key] = original


def modules_of_ours() -> list[ModuleType]:
    """Return our modules that are loaded, by name, but for those of this package: they hold the originals."""
    return [
        module
        for name, module in sorted(sys.modules.items())
        if name.startswith(PREFIX) and not name.startswith(THIS_PACKAGE)
    ]


def _holders(wanted: object) -> Iterator[tuple[dict[Any, Any], Any]]:
    for module in modules_of_ours():
        names = vars(module)
        for holder in (names, *(value for value in names.values() if type(value) is dict)):
            yield from ((holder, key) for key, value in list(holder.items()) if value is wanted)


@contextmanager
def only_in(module: ModuleType, name: str, replacement: object) -> Iterator[None]:
    """Have one module hold `replacement` by `name`; other modules keep what they hold."""
    original = vars(module)[name]
    vars(module)[name] = replacement
    try:
        yield
    finally:
        vars(module)[name] = original


@contextmanager
def attribute(holder: object, name: str, replacement: object) -> Iterator[None]:
    """Have an object of ours, or a class and all that is made of it, hold `replacement` by `name`."""
    original = vars(holder)[name]
    setattr(holder, name, replacement)
    try:
        yield
    finally:
        setattr(holder, name, original)


@contextmanager
def cells(
    table: Table[StateT, EventT, ActionT], exchanged: Mapping[EventT, Mapping[StateT, Cell[StateT, ActionT]]]
) -> Iterator[None]:
    """Exchange cells of a transition table, and compile it anew."""
    rows = {event: {**row, **exchanged.get(event, {})} for event, row in table.cells.items()}
    before = dict(vars(table))
    vars(table).update(vars(Table(table.states, table.events, rows)))
    try:
        yield
    finally:
        vars(table).update(before)


@contextmanager
def cells_of_every_design(exchanged: Mapping[GfnEvent, Mapping[HvGfnState, GfnCell]]) -> Iterator[None]:
    """Exchange cells of the Hypervisor's GFN table, under every design; each keeps to its own states."""
    with ExitStack() as put_back:
        for rules in DESIGNS.values():
            kept = {
                event: {
                    state: Cell(kept_by(rules.states, cell.next_state), cell.code, cell.action)
                    for state, cell in row.items()
                }
                for event, row in exchanged.items()
            }
            put_back.enter_context(cells(rules.table, kept))
        yield


def kept_by(states: frozenset[HvGfnState], state: HvGfnState) -> HvGfnState:
    """Return how a design of `states` keeps a GFN in `state`: one of two states calls the others normal."""
    return state if state in states else HvGfnState.NORMAL
