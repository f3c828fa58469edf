"""Designs from outside: read only where they are named, and used like those of the discussion."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any, Final

import pytest

from harness.hypervisor_fixtures import HypervisorUnderTest
from harness.scripted_ultravisor import ZERO_PAGE, refuse_gfns
from pef_hypervisor.designs import BUILT_IN, DESIGNS, PART, DesignRow
from pef_hypervisor.gfn.table import GfnAction, GfnEvent, cells_of
from pef_hypervisor.outcome import Errno
from pef_kit.core.designs import registered
from pef_protocol.codes import HCode, UCode
from pef_protocol.designs import Design, DesignName
from pef_protocol.quantities import H_PAGE_IN_FAULT, U_PAGE_IN_SECURE
from pef_protocol.states import HvGfnState

MODULE: Final = """
    from pef_hypervisor.designs import DesignRow
    from pef_hypervisor.gfn.table import GfnEvent, N, to
    from pef_protocol.designs import DesignName

    class patient:
        hypervisor = DesignRow(
            DesignName("patient"), {GfnEvent.INIT_DONE: {N: to(N)}, GfnEvent.PLUG: {N: to(N)}}
        )
"""
ENTRIES: Final = """
    [pef.designs]
    patient = outside_designs:patient
"""


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a distribution that was never installed, but lies on the path."""
    described = tmp_path / "outside_designs-1.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: outside-designs\nVersion: 1\n")
    (described / "entry_points.txt").write_text(dedent(ENTRIES))
    (tmp_path / "outside_designs.py").write_text(dedent(MODULE))
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("outside_designs", None)


def designs_named(names: str) -> Mapping[str, DesignRow]:
    return registered(BUILT_IN, PART, DesignRow, names)


@pytest.mark.usefixtures("outside")
def test_a_design_that_is_named_stands_beside_those_of_the_discussion() -> None:
    assert DESIGNS.keys() == {*Design}
    named = designs_named("patient")
    assert named.keys() == {*DESIGNS, "patient"}
    row = named["patient"]
    assert row.table.cells[GfnEvent.INIT_DONE][HvGfnState.NORMAL].action is GfnAction.NOTHING
    assert row.table.cells[GfnEvent.PAGE_IN] == DESIGNS[Design.TRACKED].table.cells[GfnEvent.PAGE_IN]


def test_a_process_reads_what_its_environment_names(outside: Path) -> None:
    shown = "from pef_hypervisor.designs import DESIGNS; print(*DESIGNS)"
    reported = subprocess.run(
        [sys.executable, "-c", shown],
        env={"PEF_DESIGNS": "patient", "PYTHONPATH": str(outside)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert reported.stdout.split() == [*DESIGNS, "patient"]


@contextmanager
def known_to_create_vm(names: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pef_hypervisor.from_vmm.create_vm.DESIGNS", designs_named(names))
        yield


@pytest.mark.usefixtures("outside")
def test_a_vm_of_a_design_from_outside_goes_its_way() -> None:
    with known_to_create_vm("patient"):
        world = HypervisorUnderTest(DesignName("patient"))
    world.init_start()
    world.page_in((0, 2))
    assert world.init_done().code.succeeded
    assert world.states() == "SS" + "N" * 14
    assert world.sound()


def test_a_vm_of_a_design_that_there_is_not_is_not_made() -> None:
    world = HypervisorUnderTest()
    outcome = world.run(world.hv.create_vm(DesignName("nobodys"), secure_guest=True, radix=True))
    assert (outcome.errno, outcome.detail) == (
        Errno.EINVAL,
        f"nobodys: no such design; there are {', '.join(Design)}",
    )
    assert len(world.hv.store.vms) == 1
    assert not world.hv.store.in_the_making


def test_cells_win_over_what_a_design_of_two_states_says_of_unmapping() -> None:
    two = frozenset({HvGfnState.NORMAL, HvGfnState.SECURE})
    stays = cells_of(frozenset(HvGfnState), {})[GfnEvent.UNMAP][HvGfnState.NORMAL]
    assert cells_of(two, {})[GfnEvent.UNMAP][HvGfnState.NORMAL].action is GfnAction.INVALIDATE
    cells = {GfnEvent.UNMAP: {HvGfnState.NORMAL: stays}}
    assert cells_of(two, cells)[GfnEvent.UNMAP][HvGfnState.NORMAL] == stays


# Settings that no built-in design has: each alone, in a design that is otherwise a built-in one


def turned(base: Design, **settings: object) -> HypervisorUnderTest:
    """Return a transient VM of a design that is `base` with other settings; GFNs 0 and 1 are touched."""
    changes: dict[str, Any] = settings
    row = replace(DESIGNS[base], name=DesignName("turned"), **changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pef_hypervisor.from_vmm.create_vm.DESIGNS", {**DESIGNS, row.name: row})
        world = HypervisorUnderTest(row.name)
    for gfn in (0, 1):
        world.write(gfn, b"text")
    world.init_start()
    world.uv.asked.clear()
    return world


def flags_of(world: HypervisorUnderTest) -> list[int]:
    requests: list[Any] = [ask.request for ask in world.uv.asked if ask.name == "UV_PAGE_IN"]
    return [request.flags for request in requests]


@pytest.mark.parametrize("base", [Design.TRACKED, Design.PUSHED_FIXED])
def test_a_reflected_fault_has_the_page_sent_and_leaves_it_what_it_is(base: Design) -> None:
    world = turned(base, serves_faults=True)
    world.share((0, 1))
    world.page_in((1, 1))
    before = world.states()
    world.uv.asked.clear()
    for gfn in (0, 1):
        assert world.page_in((gfn, 1), flags=H_PAGE_IN_FAULT).code.succeeded
    assert world.states() == before
    assert [ask.name for ask in world.uv.asked] == ["UV_PAGE_IN"]
    assert world.sound()


@pytest.mark.parametrize(("serves", "flags"), [(False, 2), (True, 3), (True, 4)])
def test_a_flag_that_the_design_does_not_have_is_refused(flags: int, *, serves: bool) -> None:
    world = turned(Design.TRACKED, serves_faults=serves)
    assert world.page_in((0, 1), flags=flags).code is HCode.H_P2
    assert not world.uv.asked


def test_a_page_that_is_to_be_secure_is_sent_with_the_flag_and_a_share_without() -> None:
    world = turned(Design.PUSHED_FIXED, page_in_flags=U_PAGE_IN_SECURE)
    world.page_in((0, 1))
    world.share((0, 1))
    world.init_done()
    assert flags_of(world) == [U_PAGE_IN_SECURE, 0, U_PAGE_IN_SECURE]


@pytest.mark.parametrize(("code", "states", "used"), [(UCode.U_P2, "SS", 16), (UCode.U_PARAMETER, "SN", 15)])
def test_a_code_may_say_that_the_page_is_in_secure_memory_already(
    code: UCode, states: str, used: int
) -> None:
    world = turned(Design.PUSHED, leaves=frozenset({UCode.U_PARAMETER}), resident=frozenset({UCode.U_P2}))
    world.uv.answers("UV_PAGE_IN", refuse_gfns(code, 1))
    assert world.init_done().code.succeeded
    assert (world.states()[:2], world.used) == (states, used)
    assert (world.normal_page(1) == ZERO_PAGE) is (code is UCode.U_P2)
    assert world.sound()
