"""The Hypervisor's tables say what the specification says, and the designs differ where they should.

Source: specification of the Hypervisor, sections 2 and 3.
"""

import numpy as np
import pytest

from pef_hypervisor.designs import DESIGNS
from pef_hypervisor.gfn.table import FOUR_STATES_CELLS, VM_TABLE, GfnAction, GfnEvent, VmEvent, wanting
from pef_protocol.designs import PUSHING, Design
from pef_protocol.states import HvGfnState, HvVmState

LIFE_OF_A_GFN = {
    "SECURE": {"SHARE": "SHARED", "PAGE_IN": "SECURE", "INIT_ABORT": "NORMAL", "INIT_DONE": "SECURE"},
    "SHARED": {"SHARE": "SHARED", "PAGE_IN": "SECURE", "INIT_ABORT": "NORMAL", "INIT_DONE": "SHARED"},
    "NORMAL": {"SHARE": "SHARED", "PAGE_IN": "SECURE", "INIT_ABORT": "NORMAL", "INIT_DONE": "SECURE"},
}
"""Section 2, the patch series' own table; unshare is H_SVM_PAGE_IN with flags 0."""

LIFE_OF_A_VM = {
    "NORMAL": {
        "START_VM": ("NORMAL", "H_SUCCESS"),
        "INIT_START": ("TRANSIENT", "H_SUCCESS"),
        "INIT_DONE": ("NORMAL", "H_UNSUPPORTED"),
        "INIT_ABORT": ("NORMAL", "H_UNSUPPORTED"),
        "UV_SVM_TERMINATE": ("NORMAL", "H_SUCCESS"),
    },
    "SECURE": {
        "START_VM": ("SECURE", "H_STATE"),
        "INIT_START": ("SECURE", "H_STATE"),
        "INIT_DONE": ("SECURE", "H_STATE"),
        "INIT_ABORT": ("SECURE", "H_STATE"),
        "UV_SVM_TERMINATE": ("NORMAL", "H_SUCCESS"),
    },
    "TRANSIENT": {
        "START_VM": ("TRANSIENT", "H_STATE"),
        "INIT_START": ("TRANSIENT", "H_STATE"),
        "INIT_DONE": ("SECURE", "H_SUCCESS"),
        "INIT_ABORT": ("NORMAL", "H_PARAMETER"),
        "UV_SVM_TERMINATE": ("NORMAL", "H_SUCCESS"),
    },
}
"""Section 3."""


def test_the_life_of_a_gfn_is_the_patch_series_table() -> None:
    seen = {
        state: {event: FOUR_STATES_CELLS[GfnEvent[event]][HvGfnState[state]].next_state.name for event in row}
        for state, row in LIFE_OF_A_GFN.items()
    }
    assert seen == LIFE_OF_A_GFN


def test_the_life_of_a_vm_is_the_patch_series_table() -> None:
    seen = {
        state.name: {
            event.name: (VM_TABLE.cells[event][state].next_state.name, VM_TABLE.cells[event][state].code.name)
            for event in VmEvent
        }
        for state in HvVmState
    }
    assert seen == LIFE_OF_A_VM


@pytest.mark.parametrize("design", Design)
def test_a_design_never_leads_into_a_state_that_it_does_not_keep(design: Design) -> None:
    rules = DESIGNS[design]
    for _, state, cell in rules.table:
        assert state not in rules.states or cell.next_state in rules.states


def test_the_designs_differ_in_what_is_left_over() -> None:
    def action_of(design: Design, event: GfnEvent) -> str:
        return DESIGNS[design].table.cells[event][HvGfnState.NORMAL].action.name

    assert {
        design.value: (action_of(design, GfnEvent.INIT_DONE), action_of(design, GfnEvent.PLUG))
        for design in Design
    } == {
        "eager": ("NOTHING", "NOTHING"),
        "broken": ("NOTHING", "NOTHING"),
        "tracked": ("MARK", "MARK"),
        "tracked-pagein": ("PAGE_IN", "MARK"),
        **{design.value: ("PAGE_IN", "MARK") for design in PUSHING},
    }
    assert {design for design in Design if action_of(design, GfnEvent.INIT_ABORT) == "RESTORE_STAND_IN"} == {
        Design.PUSHED_FIXED
    }
    assert {design.value for design in Design if not DESIGNS[design].plugged_visible} == {"eager", "broken"}
    assert {design.value for design in Design if len(DESIGNS[design].states) == 2} == {
        "eager",
        "broken",
        *PUSHING,
    }


@pytest.mark.parametrize("design", Design)
@pytest.mark.parametrize("event", GfnEvent)
def test_what_a_whole_column_becomes_is_what_each_gfn_becomes(design: Design, event: GfnEvent) -> None:
    table = DESIGNS[design].table
    column = np.array([3, 0, 1, 2, 0, 0, 1, 3, 2], np.uint8)
    expected = [int(table.cells[event][HvGfnState(state)].next_state) for state in column.tolist()]
    table.advance(event, column)
    assert column.tolist() == expected


def test_states_are_found_by_the_action_that_they_want() -> None:
    table = DESIGNS[Design.TRACKED].table
    assert wanting(
        table,
        GfnEvent.INIT_ABORT,
        GfnAction.RESTORE_CLEARTEXT,
        GfnAction.RESTORE_STAND_IN,
    ) == (
        HvGfnState.SECURE,
        HvGfnState.PAGED_OUT,
    )
