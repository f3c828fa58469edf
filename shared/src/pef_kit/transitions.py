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
DeedT = TypeVar("DeedT", bound=IntEnum)


class IncompleteTable(ValueError):
    """A transition table lacks cells."""


@dataclass(frozen=True, slots=True)
class Cell(Generic[StateT, DeedT]):
    """What happens to a GFN: the state it gets, the code to answer, what is to be done on the way."""

    then: StateT
    code: Code
    does: DeedT


@dataclass(frozen=True, slots=True)
class Judgement:
    """Verdicts for a selection of GFNs, one element each: next states, codes, deeds (uint8, int16, uint8)."""

    then: NDArray[np.uint8]
    code: NDArray[np.int16]
    does: NDArray[np.uint8]


class Table(Generic[StateT, EventT, DeedT]):
    """A complete transition table; raise IncompleteTable where a cell is missing."""

    def __init__(
        self,
        states: type[StateT],
        events: type[EventT],
        cells: Mapping[EventT, Mapping[StateT, Cell[StateT, DeedT]]],
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
        self._then = np.zeros(shape, np.uint8)
        self._code = np.zeros(shape, np.int16)
        self._does = np.zeros(shape, np.uint8)
        for event, state, cell in self:
            at = event, state
            self._then[at], self._code[at], self._does[at] = cell.then, cell.code, cell.does

    def __iter__(self) -> Iterator[tuple[EventT, StateT, Cell[StateT, DeedT]]]:
        for event in self.events:
            for state in self.states:
                yield event, state, self.cells[event][state]

    def judge(self, event: EventT, states: NDArray[np.uint8]) -> Judgement:
        """Look up `event` for every element of `states` (uint8, any length); change nothing."""
        row = int(event)
        return Judgement(
            self._then[row].take(states), self._code[row].take(states), self._does[row].take(states)
        )

    def judge_each(self, events: NDArray[np.uint8], states: NDArray[np.uint8]) -> Judgement:
        """Look up `events[i]` for `states[i]` (both uint8, of one length); change nothing."""
        return Judgement(self._then[events, states], self._code[events, states], self._does[events, states])

    def advance(self, event: EventT, states: NDArray[np.uint8]) -> None:
        """Replace every element of `states` (a column, or a view of one) by the state that `event` leads to.

        A comparison for each state that moves is eight times as fast as a lookup for each element.
        """
        row = self._then[int(event)]
        moves = [
            (states == np.uint8(state), np.uint8((int(row[state]) - state) % 256))
            for state in self.states
            if row[state] != state
        ]
        for mask, step in moves:
            states += mask.view(np.uint8) * step
