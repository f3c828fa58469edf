"""What is told of rows: one screen, JSON with everything, and JUnit that its consumers can read."""

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from harness.fake_subject import played, row
from harness.reported_rows import ALONE, HOSTILE, PAIR
from pef_lab.rows.catalogue import in_order, line_of
from pef_lab.rows.ledger import PassReport, holds, inferred, lines_of, total_of
from pef_lab.rows.report import TOLD, show, told_of, write_json
from pef_lab.rows.row import Kind, Level, Verdict
from pef_lab.rows.sheet import Unmade
from pef_lab.rows.subject import Subject

UNMADE = [Unmade("UV_ESM", "one", "two", "both answer U_P2"), Unmade("UV_ESM", "a", "b", "both answer U_P2")]


@pytest.mark.parametrize("verdict", Verdict)
@pytest.mark.parametrize("level", Level)
def test_only_a_must_row_that_does_not_pass_counts_against_a_subject(verdict: Verdict, level: Level) -> None:
    one = PassReport(Subject.PAIR, (played("one", verdict, level=level), played("two", Verdict.PASS)), 1)
    bad = level is Level.MUST and verdict in {Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE}
    assert holds([one]) is not bad


def test_a_run_in_which_nothing_was_played_proves_nothing() -> None:
    assert not holds([PassReport(Subject.PAIR, (played("one", Verdict.SKIPPED),), 0)])
    assert not holds([])


def test_rows_are_counted_once_and_plays_each_time() -> None:
    (line,) = lines_of([ALONE, PAIR])
    assert (line.name, line.rows, line.skipped) == ("UV_SVM_TERMINATE", 7, 0)
    assert line.passed == {Subject.ULTRAVISOR: (1, 6), Subject.PAIR: (2, 2)}
    assert line.verdicts[Verdict.FAIL] == 2
    assert total_of([ALONE]).skipped == 1
    assert inferred([ALONE, PAIR]) == 3


@pytest.mark.parametrize(
    ("kind", "name", "line"),
    [
        (Kind.RUNG, "uv/fake/x", "UV_ESM"),
        (Kind.CODE, "uv/fake/x", "UV_ESM"),
        (Kind.CELL, "uv/fake/x", "cell uv/…"),
        (Kind.VM_LIFE, "uv/fake/x", "VM life cycle uv/…"),
        (Kind.GFN_LIFE, "uv/fake/x", "GFN life cycle uv/…"),
    ],
)
def test_a_row_counts_on_the_line_of_its_call_or_kind(kind: Kind, name: str, line: str) -> None:
    assert line_of(row(name, kind=kind, call="UV_ESM")) == line


def test_lines_are_in_the_order_of_the_table_of_calls_and_the_rest_follows() -> None:
    assert in_order(["cell x/…", "H_SVM_PAGE_IN", "UV_ESM", "cell x/…"]) == [
        "UV_ESM",
        "H_SVM_PAGE_IN",
        "cell x/…",
    ]


def shown(passes: list[PassReport], said: list[str]) -> str:
    screen = StringIO()
    show(Console(file=screen, width=110), passes, UNMADE, said)
    return screen.getvalue()


def test_the_summary_has_all_that_did_not_pass_and_what_all_comes_to() -> None:
    text = shown([ALONE, PAIR], ["the waiver of x by Bob expired on 2026-11-22"])
    for line in (
        "✘ uv/fake/bad (ultravisor): expected U_P2, nothing changes; observed U_SUCCESS",
        "✘ uv/fake/wished (ultravisor, should): expected U_P2, nothing changes; observed U_SUCCESS",
        f"! uv/fake/odd (ultravisor): harness error: {HOSTILE}",
        "? uv/fake/open (ultravisor): inconclusive: no VM",
        "7 rows, 7 of them played, 8 times in all: "
        "3 passed, 2 failed, 1 harness error, 1 inconclusive, 1 waived",
        "in 3.75 s: ultravisor 2.5 s, pair 1.25 s",
        "that a refusal changed nothing: 2 seen by digests, 3 inferred from later calls",
        "2 pairs of rungs without a row: both answer U_P2 (2)",
        "the waiver of x by Bob expired on 2026-11-22",
        "✘ not every MUST row passes",
    ):
        assert line in text
    assert "✔ every MUST row that was played passes" in shown([PAIR], [])


def test_what_one_cause_did_to_many_rows_is_told_once_and_the_screen_stays_one() -> None:
    gone = tuple(played(str(number), Verdict.ERROR, cause="gone") for number in range(400))
    (line,) = told_of(Verdict.ERROR, [PassReport(Subject.PAIR, gone, 1)])
    assert line == "! uv/fake/0 (pair) and 399 more rows: harness error: gone"
    failing = tuple(played(str(number), Verdict.FAIL) for number in range(400))
    told = list(told_of(Verdict.FAIL, [PassReport(Subject.PAIR, failing, 1)]))
    assert len(told) == TOLD + 1
    assert told[-1] == "  … and 388 more: --json FILE has them all"


def test_json_leaves_nothing_out(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    write_json(file, [ALONE, PAIR], UNMADE, ["said"])
    content = json.loads(file.read_text())
    assert (content["schema"], content["version"], content["holds"]) == ("pef-rows", 1, False)
    assert [each["subject"] for each in content["passes"]] == ["ultravisor", "pair"]
    assert content["passes"][0]["counts"] == {
        "pass": 1, "fail": 2, "skipped": 1, "waived": 1, "harness error": 1, "inconclusive": 1
    }  # fmt: skip
    assert content["passes"][0]["rows"][1] == {
        "id": "uv/fake/bad",
        "kind": "rung",
        "call": "UV_SVM_TERMINATE",
        "level": "must",
        "clause": "what is promised",
        "verdict": "fail",
        "expected": "U_P2, nothing changes",
        "observed": "U_SUCCESS",
        "evidence": "digest",
        "cause": None,
        "seconds": 0.25,
    }
    assert content["unmade"][0] == {
        "call": "UV_ESM", "first": "one", "second": "two", "reason": "both answer U_P2"
    }  # fmt: skip
    assert content["waivers"] == ["said"]
