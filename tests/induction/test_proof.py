"""The proof holds for the sound designs, and fails where it must: other designs, and exchanged cells.

z3 is there for `make verify` alone.
"""

from dataclasses import replace
from importlib import import_module
from typing import Any, Final

import pytest

from induction.design import NOT_IN_THE_RULES, Tables, tables_of
from induction.invariant import invariant
from induction.rules_of import rules_of
from pef_hypervisor.designs import DESIGNS as HV_DESIGNS
from pef_hypervisor.gfn.table import GfnAction, GfnEvent, to
from pef_kit.core.table import Cell
from pef_protocol.codes import UCode
from pef_protocol.designs import Design
from pef_protocol.states import HvGfnState as H
from pef_protocol.states import UvGfnState as S
from pef_ultravisor.designs import DESIGNS as UV_DESIGNS
from pef_ultravisor.gfn.table import Action, Event

pytestmark = pytest.mark.verify

SOUND: Final = (Design.TRACKED, Design.TRACKED_PAGEIN, Design.PUSHED_FIXED)
OF_UV: Final = (
    (Event.PAGE_IN, S.PAGEDOUT, Cell(S.PAGEDOUT, UCode.U_SUCCESS, Action.DECRYPT)),
    (Event.PAGE_IN, S.HV_UNSHARING, Cell(S.HV_UNSHARING, UCode.U_P2, Action.NOTHING)),
    (Event.PAGE_IN_REQUESTED, S.SECURE, Cell(S.SECURE, UCode.U_P2, Action.NOTHING)),
    (Event.PAGE_OUT_ABORTED, S.PAGEDOUT, Cell(S.PAGEDOUT, UCode.U_SUCCESS, Action.NOTHING)),
    (Event.PAGE_OUT_ABORTED, S.SECURE, Cell(S.PAGEDOUT, UCode.U_SUCCESS, Action.ENCRYPT)),
    (Event.PAGE_INVAL, S.SHARED, Cell(S.SHARED, UCode.U_SUCCESS, Action.NOTHING)),
    (Event.COMMIT_SHARED, S.HV_SHARED, Cell(S.SHARED, UCode.U_SUCCESS, Action.NOTHING)),
    (Event.UNSHARE_GRANTED, S.HV_UNSHARING, Cell(S.HV_UNSHARED, UCode.U_SUCCESS, Action.NOTHING)),
    (Event.REVERT_SHARE, S.HV_SHARING, Cell(S.SHARED_INV, UCode.U_SUCCESS, Action.NOTHING)),
)
OF_HV: Final = (
    (GfnEvent.PAGE_IN, H.SHARED, to(H.SHARED, GfnAction.PAGE_IN)),
    (GfnEvent.SHARE, H.SECURE, to(H.SECURE, GfnAction.SHARE)),
    (GfnEvent.HOST_TOUCH, H.SECURE, to(H.SECURE, GfnAction.PAGE_OUT)),
    (GfnEvent.UNMAP, H.SHARED, to(H.SECURE, GfnAction.INVALIDATE)),
    (GfnEvent.INIT_DONE, H.NORMAL, to(H.NORMAL)),
    (GfnEvent.INIT_ABORT, H.SECURE, to(H.NORMAL)),
    (GfnEvent.INIT_ABORT, H.PAGED_OUT, to(H.NORMAL)),
    (GfnEvent.FORGET, H.SECURE, to(H.SECURE)),
    (GfnEvent.PLUG, H.NORMAL, to(H.NORMAL)),
)


def broken(name: Design, tables: Tables) -> list[Any]:
    prover = import_module("induction.prover").Prover()
    return list(prover.prove(rules_of(tables), invariant(name, tables), most=1))


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_design_is_proved(name: Design) -> None:
    assert broken(name, tables_of(name)) == []


@pytest.mark.parametrize("name", [each for each in Design if each not in SOUND])
def test_an_unsound_design_is_not_proved(name: Design) -> None:
    assert broken(name, tables_of(name))


@pytest.mark.parametrize(("event", "state", "cell"), OF_UV)
def test_a_cell_of_the_ultravisor_that_is_exchanged_breaks_the_proof(
    event: Event, state: S, cell: Cell[S, Action]
) -> None:
    tables = tables_of(Design.TRACKED)
    assert tables.uv[event][state] != cell
    assert broken(Design.TRACKED, tables.with_uv_cell(event, state, cell))


@pytest.mark.parametrize(("event", "state", "cell"), OF_HV)
def test_a_cell_of_the_hypervisor_that_is_exchanged_breaks_the_proof(
    event: GfnEvent, state: H, cell: Cell[H, GfnAction]
) -> None:
    tables = tables_of(Design.TRACKED)
    assert tables.hv[event][state] != cell
    assert broken(Design.TRACKED, tables.with_hv_cell(event, state, cell))


def test_an_answer_that_z3_does_not_have_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_module("induction.prover")
    monkeypatch.setattr(module.z3.Solver, "check", lambda _: module.z3.unknown)
    with pytest.raises(module.Unknown):
        broken(Design.TRACKED, tables_of(Design.TRACKED))


def test_a_step_out_of_the_invariant_names_its_cell() -> None:
    tables = tables_of(Design.TRACKED).with_hv_cell(GfnEvent.INIT_DONE, H.NORMAL, to(H.NORMAL))
    assert broken(Design.TRACKED, tables)[0].rule.cell == "INIT_DONE x NORMAL = NORMAL, H_SUCCESS, NOTHING"


@pytest.mark.parametrize("setting", NOT_IN_THE_RULES)
def test_a_setting_that_the_rules_do_not_know_is_refused(
    monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    side, rows = next(
        (side, rows)
        for side, rows in (("HV_DESIGNS", HV_DESIGNS), ("UV_DESIGNS", UV_DESIGNS))
        if hasattr(rows[Design.TRACKED], setting)
    )
    row: Any = rows[Design.TRACKED]
    changes: dict[str, Any] = {setting: object()}
    monkeypatch.setattr(f"induction.design.{side}", {Design.TRACKED: replace(row, **changes)})
    with pytest.raises(ValueError, match=setting):
        tables_of(Design.TRACKED)
