"""Designs from outside: read only where they are named, and used like those of the discussion."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Final

import pytest

from harness.hypervisor_fixtures import HypervisorUnderTest
from pef_hypervisor.designs import BUILT_IN, DESIGNS, PART, DesignRow
from pef_hypervisor.gfn.table import GfnAction, GfnEvent, cells_of
from pef_hypervisor.outcome import Errno
from pef_kit.core.designs import registered
from pef_protocol.designs import Design, DesignName
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
