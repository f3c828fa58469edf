"""Attacks as a recording, from the file that `pef hostile --json` writes."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pef_console.recorded.hostile import is_hostile, recording_of
from pef_lab.hostile.catalogue import ATTACKS
from pef_lab.hostile.report import Row, write_json
from pef_lab.hostile.trial import Look, Outcome

GOOD, BAD = Look("a load of it", "refused", "refused"), Look("both digests", "unchanged", "changed")


def row(number: int, looks: list[Look], outcome: Outcome, trouble: str = "") -> Row:
    """Return what came of an attack that one call answered."""
    answers = [Look("UV_PAGE_IN", "U_P3", "U_P3")] * 2
    trial: Any = SimpleNamespace(answers=answers, looks=looks, trouble=trouble, outcome=outcome)
    return Row(ATTACKS[number], trial, 1.0)


@pytest.fixture
def content(tmp_path: Path) -> dict[str, Any]:
    rows = [
        row(0, [GOOD], Outcome.HELD),
        row(1, [BAD], Outcome.BROKEN),
        row(2, [], Outcome.TROUBLE, "no answer: down"),
    ]
    write_json(tmp_path / "hostile.json", rows, [(9, "slow")])
    found: dict[str, Any] = json.loads((tmp_path / "hostile.json").read_text(encoding="utf-8"))
    return found


def test_each_answer_and_each_observation_is_an_entry(content: dict[str, Any]) -> None:
    recording = recording_of(content)
    assert recording.title == "a lying Hypervisor: 1 of 3 attacks held"
    names = [f"attack {ATTACKS[number].number}" for number in range(3)]
    assert [each.label for each in recording.entries] == [
        f"{names[0]}: {ATTACKS[0].tried}",
        f"{names[0]}: UV_PAGE_IN is answered",
        f"{names[0]}: a load of it is observed",
        f"{names[0]}: outcome",
        f"{names[1]}: {ATTACKS[1].tried}",
        f"{names[1]}: UV_PAGE_IN is answered",
        f"{names[1]}: both digests is observed",
        f"{names[1]}: outcome",
        f"{names[2]}: {ATTACKS[2].tried}",
        f"{names[2]}: UV_PAGE_IN is answered",
        f"{names[2]}: outcome",
    ]
    asked, answered = recording.entries[1].arrows
    assert (asked["text"], asked["from"], answered["code"]) == ("UV_PAGE_IN (2 times)", "hypervisor", "U_P3")


def test_an_attack_is_broken_where_it_was_observed(content: dict[str, Any]) -> None:
    recording = recording_of(content)
    assert [recording.violated_after(node) for node in (0, 7, 8)] == [7, 8, None]
    (verdict,) = recording.entries[6].verdicts
    assert verdict["sentence"] == "expected unchanged; seen changed"


def test_what_was_not_judged_has_no_verdict(content: dict[str, Any]) -> None:
    last = recording_of(content).entries[-1]
    assert (last.outcome, last.verdicts) == ("not judged", ())


def test_the_file_is_known_by_its_keys(content: dict[str, Any]) -> None:
    assert is_hostile(content)
    assert not is_hostile({"attacks": []})
