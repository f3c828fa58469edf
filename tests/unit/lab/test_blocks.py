"""Every table fits 80 columns, and neither a name nor a number is cut or broken in it."""

import io
import itertools
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, RenderableType

from pef_explorer.invariants import INVARIANTS
from pef_explorer.search import command as exploring
from pef_explorer.simulation import command as simulating
from pef_lab.blocks import Blocks
from pef_lab.designs.report import VERDICTS, DesignReport
from pef_lab.findings import Verdict
from pef_lab.replay import drawing
from pef_lab.replay.counterexample import read
from pef_lab.rows import report as rows
from pef_lab.rows.subject import Subject
from pef_lab.sequence import Step, steps_of
from pef_lab.tables import designs_table, page_panel, sequence_table, side_by_side
from pef_lab.trace import Recorded
from pef_protocol.designs import Design
from pef_protocol.events import Event, EventKind, EventPhase, Side

FILES: Final = sorted((Path(__file__).parents[3] / "docs" / "counterexamples").glob("**/*.json"))
MANY: Final = 9_876_543_210


def shown(table: RenderableType, width: int = 80) -> str:
    """Return a table as a terminal of `width` columns shows it; no line is longer."""
    console = Console(file=io.StringIO(), width=width, highlight=False, legacy_windows=False)
    console.print(table)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, printed.splitlines())) <= width
    return str(printed)


def of_designs() -> tuple[RenderableType, list[str]]:
    counted = SimpleNamespace(ultracalls=MANY, hypercalls=MANY, gfns_carried=MANY, bytes_moved=MANY)
    cost: Any = SimpleNamespace(
        seconds=1234.5, counted=counted, bytes_per_gfn=dict.fromkeys(Side, 1.2345e-12)
    )
    verdicts = itertools.cycle(Verdict)
    reports = [DesignReport(each, cost, {step: next(verdicts) for step in VERDICTS}, ()) for each in Design]
    return designs_table(reports, "VM of 64 TiB"), [*Design, f"{MANY:,}", "1.2e-12", "✘ corrupt"]


def of_rows() -> tuple[RenderableType, list[str]]:
    passed = dict.fromkeys(Subject, (9998, 9999))
    names = ["UV_UNREGISTER_MEM_SLOT", "H_SVM_INIT_ABORT"]
    verdicts = Counter(dict.fromkeys(rows.HEADS, 9997))
    lines = [
        SimpleNamespace(name=each, rows=9996, passed=passed, verdicts=verdicts, skipped=9995)
        for each in names
    ]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rows, "lines_of", lambda _: lines)
        patched.setattr(rows, "total_of", lambda _: lines[0])
        passes: Any = [SimpleNamespace(subject=each) for each in Subject]
        table = rows.table_of(passes)
    return table, [*names, *rows.HEADS_OF.values(), *rows.HEADS.values(), "9998/9999", "9995", "9996", "9997"]


def of_a_search() -> tuple[RenderableType, list[str]]:
    found = [(None, SimpleNamespace(invariant=each.__name__, moves=range(123))) for each in INVARIANTS]
    each: Any = SimpleNamespace(
        states=MANY, transitions=MANY, complete=False, depth=12345, seconds=123456.0, violations=found
    )
    table = exploring.table_of(
        [SimpleNamespace(**{**vars(each), "design": name}) for name in Design],  # type: ignore[misc]
        "pef explore --design all --slots 2,1 --vcpus 2 --faults 3 --lost-answers 3 --late 3, commit 0123456",
    )
    return table, [*Design, f"{MANY:,}", "12345 done", *(f"{one.__name__} (123)" for one in INVARIANTS)]


def of_a_simulation() -> tuple[RenderableType, list[str]]:
    report: Any = SimpleNamespace(
        design=Design.PUSHED_INVALIDATED,
        steps=MANY,
        seeds=range(10**9),
        counted=lambda _: MANY,
        failed=range(10**9),
    )
    return simulating.table_of(report, 123456.78), [f"{MANY:,}", "1,000,000,000", "✘ 1000000000 seeds fail"]


def of_calls() -> tuple[RenderableType, list[str]]:
    def event(number: int, side: Side, name: str, parent: str, code: str) -> Recorded:
        arguments = {"gfn": 0x3FFFFFFFFFF, "flags": MANY, "size": 1 << 46, "slotid": MANY}
        kept = Event(
            *(
                number,
                side,
                EventKind.CALL,
                EventPhase.END,
                str(number),
                parent,
                side.other if hasattr(side, "other") else "guest 1",
            ),
            *(name, 0, arguments, code, "the_range_lies_within_one_slot"),
        )
        return Recorded("pushed-invalidated", "enters secure mode", kept)

    calls = [
        event(1, Side.ULTRAVISOR, "UV_ESM", "", "U_FUNCTION"),
        event(2, Side.HYPERVISOR, "H_SVM_INIT_START", "1", "H_UNSUPPORTED"),
        event(3, Side.ULTRAVISOR, "UV_UNREGISTER_MEM_SLOT", "2", "U_PARAMETER"),
        event(4, Side.HYPERVISOR, "H_SVM_INIT_ABORT", "3", "H_PARAMETER"),
    ]
    steps: list[Step] = steps_of(calls)
    words = [
        "H_SVM_INIT_START",
        "UV_UNREGISTER_MEM_SLOT",
        "U_PARAMETER",
        "H_PARAMETER",
        "0x3ffffffffff",
        str(MANY),
    ]
    return sequence_table(steps, 80), words


def of_pages() -> tuple[RenderableType, list[str]]:
    octets = bytes(range(256)) * 256
    panels = [page_panel(f"in the {who}'s eyes", octets, 89) for who in ("guest", "host")]
    return side_by_side(*panels), [
        "in the guest's eyes",
        "in the host's eyes",
        "= ciphertext or other opaque bytes",
    ]


TABLES: Final[tuple[Callable[[], tuple[RenderableType, list[str]]], ...]] = (
    *(of_designs, of_rows, of_a_search, of_a_simulation, of_calls, of_pages),
)


@pytest.mark.parametrize("worst", TABLES)
def test_a_table_fits_and_has_every_word(worst: Callable[[], tuple[RenderableType, list[str]]]) -> None:
    table, words = worst()
    printed = shown(table)
    assert "…" not in re.sub(r"(?<=[0-9a-f]{2}) …", "", printed)
    assert [word for word in words if word not in printed] == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_counterexample_fits_and_has_every_word(file: Path) -> None:
    found = read(file)
    printed = shown(drawing.table(found))
    assert "…" not in printed
    words = {word for arrow in drawing.arrows_of(found) for word in arrow.sentence.split()}
    assert [word for word in words if word not in printed] == []


@given(st.lists(st.integers(1, 30), min_size=2, max_size=12), st.integers(80, 120))
def test_each_column_stands_in_one_block_beside_the_names(widths: list[int], width: int) -> None:
    names = [chr(ord("a") + place) * wide for place, wide in enumerate(widths)]
    table = Blocks(names)
    table.add_row(*(name.upper() for name in names))
    printed = shown(table, width)
    assert [printed.split().count(name) for name in names[1:]] == [1] * (len(names) - 1)
    assert printed.split().count(names[0]) == printed.count("┏")
    assert [name for name in names if name.upper() not in printed] == []
