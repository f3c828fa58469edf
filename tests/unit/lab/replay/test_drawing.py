"""A counterexample as it is drawn."""

from pathlib import Path

import pytest

from harness.counterexample_file import step, written
from pef_lab.cli import app
from pef_lab.replay import drawing
from pef_lab.replay.counterexample import read


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "found.json"


def test_it_is_drawn_as_mermaid(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["trace", "--mermaid", str(written(file))]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "sequenceDiagram",
        "    participant G0 as guest 0",
        "    participant M as host memory management",
        "    participant U as Ultravisor",
        "    participant H as Hypervisor",
        "    G0->>U: share 0",
        "    Note over U: guest 0: H_SVM_PAGE_IN is on its way",
        "    M->>H: unmap 0",
        "    H-->>M: OK",
        "    U-xH: H_SVM_PAGE_IN (busy)",
        "    H-->>U: H_BUSY",
        "    Note over U: guest 0: waits",
        "    Note over G0,H: ✘ every_call_ends: it goes on#59; for ever",
        "    U-->>G0: U_PARAMETER",
        "    Note over G0,H: GFN 0: Hypervisor NORMAL, Ultravisor nothing#59; "
        "in the end guest reads zero, host zero",
        "    Note over G0,H: GFN 1: Hypervisor nothing, Ultravisor nothing#59; "
        "in the end guest reads refused, host refused",
    ]


def test_it_is_drawn_in_a_terminal(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["trace", str(written(file))]) == 0
    shown = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert shown[:5] == [
        "a share that is told busy (design tracked)",
        "step  actor    what happens",
        "   1  guest 0  guest 0 ▸ Ultravisor: share 0",
        "                 guest 0: H_SVM_PAGE_IN is on its way",
        "   2  memory   host memory management ▸ Hypervisor: unmap 0",
    ]
    assert "               ✘ every_call_ends: it goes on; for ever" in shown


def test_a_secure_guest_speaks_to_the_ultravisor_until_it_is_reset(file: Path) -> None:
    steps = [
        step("guest 0", "load", "ends zero", 0),
        step("guest 0", "UV_ESM", "ends U_SUCCESS"),
        step("guest 0", "load", "ends zero", 0),
        step("vmm", "reset", "ends OK"),
        step("guest 0", "load", "ends zero", 0),
    ]
    arrows = drawing.arrows_of(read(written(file, steps=steps)))
    assert [each.end for each in arrows if each.words == "load 0"] == ["H", "U", "H"]
