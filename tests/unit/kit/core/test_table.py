"""Transition tables: incomplete ones don't start, and the arrays say what the dict says."""

from collections.abc import Mapping
from enum import IntEnum

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pef_kit.core.table import Cell, IncompleteTable, Table
from pef_protocol.codes import UCode


class Light(IntEnum):
    RED = 0
    AMBER = 1
    GREEN = 2


class Event(IntEnum):
    TICK = 0
    FAULT = 1


class Action(IntEnum):
    NOTHING = 0
    RING = 7
    HIGHEST = 255


Cells = Mapping[Event, Mapping[Light, Cell[Light, Action]]]
CELLS: Cells = {
    Event.TICK: {
        Light.RED: Cell(Light.GREEN, UCode.U_SUCCESS, Action.NOTHING),
        Light.AMBER: Cell(Light.RED, UCode.U_BUSY, Action.RING),
        Light.GREEN: Cell(Light.AMBER, UCode.U_NO_KEY, Action.HIGHEST),
    },
    Event.FAULT: {
        Light.RED: Cell(Light.RED, UCode.U_P2, Action.NOTHING),
        Light.AMBER: Cell(Light.AMBER, UCode.U_SUCCESS, Action.RING),
        Light.GREEN: Cell(Light.RED, UCode.U_BAD_MODE, Action.RING),
    },
}
TABLE = Table(Light, Event, CELLS)
columns = st.lists(st.sampled_from(Light), max_size=40)


def test_going_through_a_table_gives_every_cell_once() -> None:
    seen = [(event, state) for event, state, _ in TABLE]
    assert seen == [(event, state) for event in Event for state in Light]
    assert all(cell is CELLS[event][state] for event, state, cell in TABLE)


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("state", Light)
def test_a_table_without_one_cell_is_refused_by_its_name(event: Event, state: Light) -> None:
    cells = {key: dict(row) for key, row in CELLS.items()}
    del cells[event][state]
    with pytest.raises(IncompleteTable, match=rf"^no cell for {event.name} x {state.name}$"):
        Table(Light, Event, cells)


def test_a_table_without_a_row_names_all_its_cells() -> None:
    with pytest.raises(IncompleteTable, match="FAULT x RED, FAULT x AMBER, FAULT x GREEN"):
        Table(Light, Event, {Event.TICK: CELLS[Event.TICK]})


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("state", Light)
def test_judging_one_state_is_its_cell(event: Event, state: Light) -> None:
    cell = CELLS[event][state]
    verdict = TABLE.judge(event, np.array([state], np.uint8))
    assert [verdict.next_state[0], verdict.code[0], verdict.action[0]] == [
        cell.next_state,
        cell.code,
        cell.action,
    ]
    assert [part.dtype.name for part in (verdict.next_state, verdict.code, verdict.action)] == [
        "uint8",
        "int16",
        "uint8",
    ]


@given(st.sampled_from(Event), columns)
def test_judging_a_column_is_judging_each_and_changes_nothing(event: Event, states: list[Light]) -> None:
    column = np.array(states, np.uint8)
    verdict = TABLE.judge(event, column)
    cells = [CELLS[event][state] for state in states]
    assert verdict.next_state.tolist() == [cell.next_state for cell in cells]
    assert verdict.code.tolist() == [cell.code for cell in cells]
    assert verdict.action.tolist() == [cell.action for cell in cells]
    assert column.tolist() == states


@given(st.lists(st.tuples(st.sampled_from(Event), st.sampled_from(Light)), max_size=40))
def test_judging_many_events_is_judging_each(pairs: list[tuple[Event, Light]]) -> None:
    events = np.array([event for event, _ in pairs], np.uint8)
    states = np.array([state for _, state in pairs], np.uint8)
    verdict = TABLE.judge_each(events, states)
    cells = [CELLS[event][state] for event, state in pairs]
    assert verdict.next_state.tolist() == [cell.next_state for cell in cells]
    assert verdict.code.tolist() == [cell.code for cell in cells]
    assert verdict.action.tolist() == [cell.action for cell in cells]


@given(st.sampled_from(Event), columns, st.integers(0, 40), st.integers(0, 40))
def test_advancing_changes_the_column_itself_and_only_the_part_given(
    event: Event, states: list[Light], first: int, count: int
) -> None:
    column = np.array(states, np.uint8)
    TABLE.advance(event, column[first : first + count])
    moved = [CELLS[event][state].next_state for state in states[first : first + count]]
    assert column.tolist() == [*states[:first], *moved, *states[first + count :]]


def test_advancing_a_long_column_reads_each_state_before_it_is_replaced() -> None:
    column = np.tile(np.arange(3, dtype=np.uint8), 100_000)
    TABLE.advance(Event.TICK, column)
    assert np.array_equal(column, np.tile(np.array([2, 0, 1], np.uint8), 100_000))
