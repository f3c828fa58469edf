"""The tables and settings of the models are the services' own, and a changed cell changes the text."""

import re
from dataclasses import replace

import pytest

from pef_explorer.knobs import CODED, COPIES, INTENT, REFLECTS, UNMARKED, Knob, KnobDesign
from pef_explorer.plan import Part
from pef_hypervisor.designs import DESIGNS as ROWS
from pef_kit.core.table import Cell, Table
from pef_model.tables import CODES, MODELS, Model, NotModelled, promela
from pef_protocol.codes import UCode
from pef_protocol.designs import Design
from pef_protocol.states import UvGfnState
from pef_ultravisor.gfn.columns import BUSY
from pef_ultravisor.gfn.table import CELLS, GFN, Action, Event

TRACKED = Model.of(Design.TRACKED, Part.BROUGHT)
EAGER = Model.of(Design.EAGER, Part.UNMIGRATED)


def array(text: str, name: str) -> list[int]:
    """Return an array of a text for SPIN."""
    found = re.search(rf"hidden byte {name}\[(\d+)\] = {{ ([^}}]*) }};", text)
    assert found is not None
    numbers = [int(number) for number in found.group(2).split(",")]
    assert len(numbers) == int(found.group(1))
    return numbers


def test_there_is_a_model_for_each_design_and_part() -> None:
    assert {(model.row.name, model.part) for model in MODELS} == {
        (design, part) for design in Design for part in Part
    }
    assert len(MODELS) == len(Design) * len(Part)


def test_each_cell_of_the_ultravisor_is_in_the_text() -> None:
    text = promela([TRACKED])
    cells = [cell for _, _, cell in GFN]
    assert array(text, "uv_next") == [int(cell.next_state) for cell in cells]
    assert array(text, "uv_action") == [int(cell.action) for cell in cells]
    assert array(text, "uv_code") == [CODES[cell.code.name] for cell in cells]


def test_each_model_has_the_table_of_its_design() -> None:
    text = promela([TRACKED, EAGER])
    of_tracked, of_eager = (
        [int(cell.next_state) for _, _, cell in ROWS[design].table]
        for design in (Design.TRACKED, Design.EAGER)
    )
    assert of_tracked != of_eager
    assert array(text, "hv_next") == of_tracked + of_eager
    assert array(text, "hv_table") == [0, 1]


def test_a_table_that_several_models_have_stands_there_once() -> None:
    text = promela([EAGER, TRACKED, EAGER])
    assert array(text, "uv_table") == [0, 0, 0]
    assert array(text, "hv_table") == [0, 1, 0]
    assert len(array(text, "uv_next")) == len([*GFN])


def test_each_model_has_the_settings_of_its_design_and_its_part() -> None:
    pushed = Model.of(Design.PUSHED_UNASKED, Part.SHARED)
    text = promela([TRACKED, EAGER, pushed])
    assert array(text, "page_in_means") == [Event.PAGE_IN, Event.PAGE_IN, Event.PAGE_IN_BARRED]
    assert array(text, "page_in_at_done_means") == [
        Event.PAGE_IN_AT_DONE,
        Event.PAGE_IN_AT_DONE,
        Event.PAGE_IN_PUSHED,
    ]
    assert array(text, "exempt") == [0, 0, 1]
    assert array(text, "asks_for_every_gfn") == [0, 1, 0]
    assert array(text, "leaves_u_p2") == [0, 0, 1]
    assert array(text, "is_brought") == [1, 0, 0]
    assert array(text, "is_unmigrated") == [0, 1, 0]


def test_a_changed_cell_changes_the_text() -> None:
    row = {
        **CELLS[Event.PAGE_OUT],
        UvGfnState.SECURE: Cell(UvGfnState.SECURE, UCode.U_SUCCESS, Action.ENCRYPT),
    }
    changed = Table(UvGfnState, Event, {**CELLS, Event.PAGE_OUT: row})
    unchanged, changed_cells = (
        array(promela([replace(TRACKED, ultravisor=table)]), "uv_next") for table in (GFN, changed)
    )
    (place,) = [
        place for place, pair in enumerate(zip(unchanged, changed_cells, strict=True)) if len({*pair}) > 1
    ]
    assert place == Event.PAGE_OUT * len(UvGfnState) + UvGfnState.SECURE


def test_success_is_0_for_both_sides_and_codes_of_a_side_differ() -> None:
    assert CODES["U_SUCCESS"] == CODES["H_SUCCESS"] == 0
    assert len({CODES[code.name] for code in UCode}) == len(UCode)


def test_a_setting_that_no_model_knows_is_refused() -> None:
    with pytest.raises(NotModelled, match="tracked: the marks 0x1 exempt a GFN from the shared-page policy"):
        Model.made_of(Part.SHARED, replace(TRACKED.settings, exempt=BUSY), TRACKED.row)
    with pytest.raises(NotModelled, match="tracked: a GFN stays as it is at U_P4"):
        Model.made_of(Part.SHARED, TRACKED.settings, replace(TRACKED.row, leaves=frozenset({UCode.U_P4})))
    with pytest.raises(NotModelled, match="tracked: a page is resident at U_P4"):
        Model.made_of(Part.SHARED, TRACKED.settings, replace(TRACKED.row, resident=frozenset({UCode.U_P4})))


def test_each_knob_is_in_the_text() -> None:
    """Each design with one knob changed has one setting in the text that `tracked` has not."""
    changed = {
        "reflects_faults": KnobDesign(Design.TRACKED, REFLECTS),
        "marks_hypercalls": KnobDesign(Design.TRACKED, UNMARKED),
        "copies_until_secure": KnobDesign(Design.TRACKED, COPIES),
        "shared_code": KnobDesign(Design.PUSHED, CODED),
        "reads_intent": KnobDesign(Design.TRACKED, INTENT),
    }
    models = [Model.made_of(Part.SHARED, each.ultravisor, each.hypervisor) for each in changed.values()]
    text = promela([TRACKED, *models])
    for place, name in enumerate(changed, start=1):
        values = array(text, name)
        assert values[0] != values[place]
        assert [*values[:place], *values[place + 1 :]] == [values[0]] * (len(values) - 1)
    assert array(text, "resident_u_p2") == array(text, "leaves_u_parameter") == [0, 0, 0, 0, 1, 0]


@pytest.mark.parametrize("knob", [INTENT, REFLECTS])
def test_a_flag_that_only_one_side_has_is_refused(knob: Knob) -> None:
    settings = KnobDesign(Design.TRACKED, knob).ultravisor
    with pytest.raises(NotModelled, match="one side has a flag"):
        Model.made_of(Part.SHARED, settings, TRACKED.row)
