"""Conformance results as a recording, from the file that `pef rows --json` writes."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness.reported_rows import ALONE, PAIR
from pef_console.recorded.rows import is_rows, recording_of, version_of
from pef_lab.rows.report import write_json


@pytest.fixture
def content(tmp_path: Path) -> dict[str, Any]:
    file = tmp_path / "rows.json"
    write_json(file, (ALONE, PAIR), (), ())
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def test_each_row_that_was_judged_is_an_entry(content: dict[str, Any]) -> None:
    recording = recording_of(content)
    played = [row for each in (ALONE, PAIR) for row in each.played if str(row.verdict) != "skipped"]
    assert [each.outcome for each in recording.entries] == [str(row.verdict) for row in played]
    assert recording.title == f"conformance: 3 of {len(played)} rows pass"
    assert json.loads(recording.content) == content


def test_a_row_is_broken_where_something_else_was_observed(content: dict[str, Any]) -> None:
    verdicts = {
        each.outcome: [one["holds"] for one in each.verdicts] for each in recording_of(content).entries
    }
    assert verdicts == {
        "pass": [True],
        "fail": [False],
        "waived": [False],
        "harness error": [],
        "inconclusive": [],
    }


def test_a_row_shows_what_was_expected_and_observed(content: dict[str, Any]) -> None:
    recording = recording_of(content)
    node = recording.violated_after(0)
    assert node is not None
    row = next(each for each in content["passes"][0]["rows"] if each["verdict"] == "fail")
    texts = [each["text"] for each in recording.frame(node)["arrows"] if each["node"] == node]
    assert texts[0] == f"{row['id']}: {row['clause']}"
    assert f"expected {row['expected']}" in texts
    assert f"observed {row['observed']}" in texts


def test_the_version_is_that_of_the_writer(content: dict[str, Any]) -> None:
    assert is_rows(content)
    assert version_of(content) == ""
    assert version_of({**content, "version": 9}) == "of version 9, where 1 is read here"
    assert not is_rows({"schema": "other"})
