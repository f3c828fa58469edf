"""The comparison of SPIN's models with the services' own code notices a fault that only the models have."""

from dataclasses import replace
from typing import Any, Final

import pytest

from pef_explorer.plan import Part
from pef_hypervisor.gfn.table import GfnAction, GfnEvent, VmAction, VmEvent
from pef_kit.core.table import Cell, Table
from pef_model.comparison import Row, plan_of
from pef_model.explored import explored
from pef_model.rest_state import Seen
from pef_model.spin import MissingTool, reached, require_tools, written_out
from pef_model.tables import Model
from pef_protocol.codes import HCode, UCode
from pef_protocol.designs import Design
from pef_protocol.states import HvGfnState, HvVmState, UvGfnState, UvVmState
from pef_ultravisor.gfn.table import Action, Event

pytestmark = pytest.mark.verify

MODEL: Final = Model.of(Design.TRACKED, Part.SHARED)


def exchanged(
    table: Table[Any, Any, Any], event: Any, state: Any, cell: Cell[Any, Any]
) -> Table[Any, Any, Any]:
    """Return a table with another cell."""
    return Table(table.states, table.events, {**table.cells, event: {**table.cells[event], state: cell}})


CELLS: Final[dict[str, Model]] = {
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
            UvGfnState.SHARED_IMPLICIT,
            Cell(UvGfnState.SHARED_IMPLICIT, UCode.U_SUCCESS, Action.NOTHING),
        ),
    ),
    "an implicit share is committed as one of the guest": replace(
        MODEL,
        ultravisor=exchanged(
            MODEL.ultravisor,
            Event.COMMIT_IMPLICIT,
            UvGfnState.HV_SHARED,
            Cell(UvGfnState.SHARED, UCode.U_SUCCESS, Action.SCRUB),
        ),
    ),
    "H_SVM_INIT_START leaves the VM a normal one": replace(
        MODEL,
        vm=exchanged(
            MODEL.vm,
            VmEvent.INIT_START,
            HvVmState.NORMAL,
            Cell(HvVmState.NORMAL, HCode.H_SUCCESS, VmAction.REGISTER),
        ),
    ),
}
"""Models with one cell that is not the services'."""
REGISTERED: Final = ("sent = 0; stand_in = 0; registered = 0;", "sent = 0; stand_in = 0;")
IMPORTED: Final = ("imported = 0; svm = SECURE", "svm = SECURE")
"""A line of the models, and what stands there instead."""


@pytest.fixture(scope="module", autouse=True)
def _tools() -> None:
    try:
        require_tools()
    except MissingTool as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def explorer() -> Seen:
    """Return what the explorer sees of MODEL."""
    return explored(plan_of(MODEL))


def test_a_cell_that_differs_is_noticed(explorer: Seen) -> None:
    unchanged, *changed = (Row(MODEL, spin, explorer) for spin in reached([MODEL, *CELLS.values()]).seen)
    assert unchanged.differences == []
    assert [fault for fault, row in zip(CELLS, changed, strict=True) if not row.differences] == []


def test_an_operation_that_differs_is_noticed(explorer: Seen) -> None:
    """Given models in which a reset leaves the slot registered, they differ from the services."""
    (spin,) = reached([MODEL], with_a_fault(MODEL, *REGISTERED)).seen
    assert Row(MODEL, spin, explorer).differences


def test_the_fields_show_a_mark_that_is_kept() -> None:
    """Given models in which the commit keeps IMPORTED, pages of a secure VM bear it at rest."""
    brought = Model.of(Design.TRACKED, Part.BROUGHT)
    (spin,) = reached([brought], with_a_fault(brought, *IMPORTED)).seen
    assert any(state.imported and state.svm == UvVmState.SECURE + 1 for state in spin.states)


def with_a_fault(model: Model, line: str, instead: str) -> str:
    """Return the text of a model with one line that is not as it should be."""
    text = written_out([model])
    assert text.count(line) == 1
    return text.replace(line, instead)
