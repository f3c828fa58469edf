"""The comparison of SPIN's models with the services' own code notices a fault that only the models have."""

from dataclasses import replace
from typing import Any, Final

import pytest

from pef_explorer.plan import Part
from pef_hypervisor.gfn.table import GfnAction, GfnEvent, VmEvent
from pef_kit.core.table import Cell, Table
from pef_model.comparison import plan_of
from pef_model.explored import explored
from pef_model.rest_state import Seen
from pef_model.spin import MissingTool, reached, require_tools, written_out
from pef_model.tables import Model
from pef_protocol.codes import HCode, UCode
from pef_protocol.designs import Design
from pef_protocol.states import HvGfnState, HvVmState, UvGfnState
from pef_ultravisor.gfn.table import Action, Event

pytestmark = pytest.mark.verify

MODEL: Final = Model.of(Design.TRACKED, Part.BROUGHT)


def exchanged(
    table: Table[Any, Any, Any], event: Any, state: Any, cell: Cell[Any, Any]
) -> Table[Any, Any, Any]:
    """Return a table with another cell."""
    return Table(table.states, table.events, {**table.cells, event: {**table.cells[event], state: cell}})


CELLS: Final[dict[str, Model]] = {
    "a page that is paged out is normal for the Hypervisor": replace(
        MODEL,
        hypervisor=exchanged(
            MODEL.hypervisor,
            GfnEvent.HOST_TOUCH,
            HvGfnState.SECURE,
            Cell(HvGfnState.NORMAL, HCode.H_SUCCESS, GfnAction.PAGE_OUT),
        ),
    ),
    "a shared page is unmapped without UV_PAGE_INVAL": replace(
        MODEL,
        hypervisor=exchanged(
            MODEL.hypervisor,
            GfnEvent.UNMAP,
            HvGfnState.SHARED,
            Cell(HvGfnState.SHARED, HCode.H_SUCCESS, GfnAction.NOTHING),
        ),
    ),
    "a page that UV_PAGE_INVAL names stays mapped": replace(
        MODEL,
        ultravisor=exchanged(
            MODEL.ultravisor,
            Event.PAGE_INVAL,
            UvGfnState.SHARED,
            Cell(UvGfnState.SHARED, UCode.U_SUCCESS, Action.NOTHING),
        ),
    ),
    "a share is committed as an implicit one": replace(
        MODEL,
        ultravisor=exchanged(
            MODEL.ultravisor,
            Event.COMMIT_SHARED,
            UvGfnState.HV_SHARED,
            Cell(UvGfnState.SHARED_IMPLICIT, UCode.U_SUCCESS, Action.SCRUB),
        ),
    ),
    "H_SVM_INIT_START leaves the VM a normal one": replace(
        MODEL,
        vm=exchanged(
            MODEL.vm,
            VmEvent.INIT_START,
            HvVmState.NORMAL,
            Cell(
                HvVmState.NORMAL, HCode.H_SUCCESS, MODEL.vm.cells[VmEvent.INIT_START][HvVmState.NORMAL].action
            ),
        ),
    ),
}
"""Models with one cell that is not the services'."""
LINES: Final = {
    "the mark IMPORTED is kept at the commit": ("imported = 0; svm = SECURE", "svm = SECURE"),
    "a page that the Ultravisor sealed is never genuine": ("recorded = 1; genuine = 1", "recorded = 1"),
    "the page of a VM that aborts is not scrubbed": (
        "h = HV_NEXT(HV_ON_FORGET, h); scrub()",
        "h = HV_NEXT(HV_ON_FORGET, h)",
    ),
}
"""Texts with one line that is not as it should be: what stands there, and what stands there instead."""


@pytest.fixture(scope="module", autouse=True)
def _tools() -> None:
    try:
        require_tools()
    except MissingTool as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def seen() -> Seen:
    """Return what the explorer sees of MODEL."""
    return explored(plan_of(MODEL))


def test_a_cell_that_differs_is_noticed(seen: Seen) -> None:
    unchanged, *changed = reached([MODEL, *CELLS.values()]).seen
    assert unchanged == seen
    assert [fault for fault, found in zip(CELLS, changed, strict=True) if found == seen] == []


@pytest.mark.parametrize("fault", LINES)
def test_a_line_that_differs_is_noticed(seen: Seen, fault: str) -> None:
    text = written_out([MODEL])
    assert text.count(LINES[fault][0]) == 1
    (found,) = reached([MODEL], text.replace(*LINES[fault])).seen
    assert found != seen
