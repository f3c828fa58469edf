"""Transition tables: written as readable dicts, checked for completeness, applied to whole columns.

A table maps (event, state) to a `Cell`: the next state, the code to answer, and what has to be done. It is
compiled once into three lookup arrays, so that judging a million GFNs is three `take`s. The dict stays: it
is what people read, what diagrams are drawn from and what tests go through cell by cell.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from pef_protocol.codes import Code

StateT = TypeVar("StateT", bound=IntEnum)
EventT = TypeVar("EventT", bound=IntEnum)
ActionT = TypeVar("ActionT", bound=IntEnum)


class IncompleteTable(ValueError):
    """A transition table lacks cells."""


@dataclass(frozen=True, slots=True)
class Cell(Generic[StateT, ActionT]):
    """What happens to a GFN: the state it gets, the code to answer, what is to be done on the way."""

    next_state: StateT
    code: Code
    action: ActionT


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a table says of some GFNs: next state (uint8), code (int16) and action (uint8), each per GFN."""

    next_state: NDArray[np.uint8]
    code: NDArray[np.int16]
    action: NDArray[np.uint8]


class Table(Generic[StateT, EventT, ActionT]):
    """A complete transition table; raise IncompleteTable where a cell is missing."""

    def __init__(
        self,
        states: type[StateT],
        events: type[EventT],
        cells: Mapping[EventT, Mapping[StateT, Cell[StateT, ActionT]]],
    ) -> None:
        self.states = states
        self.events = events
        self.cells = cells
        missing = [
            f"{event.name} x {state.name}"
            for event in events
            for state in states
            if state not in cells.get(event, {})
        ]
        if missing:
            message = f"no cell for {', '.join(missing)}"
            raise IncompleteTable(message)
        shape = (len(events), len(states))
        self._next_state = np.zeros(shape, np.uint8)
        self._code = np.zeros(shape, np.int16)
        self._action = np.zeros(shape, np.uint8)
        for event, state, cell in self:
            at = event, state
            self._next_state[at], self._code[at], self._action[at] = cell.next_state, cell.code, cell.action

    def __iter__(self) -> Iterator[tuple[EventT, StateT, Cell[StateT, ActionT]]]:
        for event in self.events:
            for state in self.states:
                yield event, state, self.cells[event][state]

    def judge(self, event: EventT, states: NDArray[np.uint8]) -> Judgement:
        """Look up `event` for every element of `states` (uint8, any length); change nothing."""
        row = int(event)
        return Judgement(
            self._next_state[row].take(states), self._code[row].take(states), self._action[row].take(states)
        )

    def judge_each(self, events: NDArray[np.uint8], states: NDArray[np.uint8]) -> Judgement:
        """Look up `events[i]` for `states[i]` (both uint8, of one length); change nothing."""
        return Judgement(
            self._next_state[events, states], self._code[events, states], self._action[events, states]
        )

    def advance(self, event: EventT, states: NDArray[np.uint8]) -> None:
        """Replace every element of `states` (a column, or a view of one) by the state that `event` leads to.

        A comparison for each state that moves is eight times as fast as a lookup for each element.
        """
        row = self._next_state[int(event)]
        moves = [
            (states == np.uint8(state), np.uint8((int(row[state]) - state) % 256))
            for state in self.states
            if row[state] != state
        ]
        for mask, step in moves:
            states += mask.view(np.uint8) * step
