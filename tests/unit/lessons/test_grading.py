"""A folder with good, bad and hostile hand-ins: each gets one line, and none stops the others."""

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from pef_lab.failures import WrongInput
from pef_lessons import grading
from pef_lessons.all_lessons import LESSONS
from pef_lessons.grading import Grade, as_csv, as_json, grade_file, grade_folder
from pef_lessons.hand_in import answer_file
from pef_lessons.script import make_moves


def handed_in(number: str, *, student: str = "", lines: int | None = None) -> dict[str, Any]:
    lesson = LESSONS[number]
    session = lesson.session()
    make_moves(session, lesson.solution.script[:lines])
    return answer_file(lesson, session, lesson.solution.answers, student)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a folder of hand-ins: two that pass, one that does not yet, and eight that are hostile."""
    endless = {**handed_in("7"), "moves": [{"actor": "guest 0", "action": "load", "gfn": 1}] * 400}
    contents: dict[str, Any] = {
        "a-good": handed_in("7", student="Ada"),
        "b-good": handed_in("9", student="Bob"),
        "c-not-yet": handed_in("7", student="Cleo", lines=2),
        "d-version": {**handed_in("7"), "format": "pef-lesson-answer/9"},
        "e-another-lesson": {**handed_in("7"), "lesson": "8"},
        "f-not-possible": {**handed_in("7"), "moves": [{"actor": "vmm", "action": "win"}]},
        "g-endless": endless,
        "h-formula": {**handed_in("7", lines=0), "student": "=HYPERLINK(1)"},
        "i-own-verdict": {**handed_in("7", lines=0), "passed": True},
    }
    for name, content in contents.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    (tmp_path / "j-huge.json").write_text(" " * 2_000_000)
    (tmp_path / "k-nested.json").write_text("[" * 50_000)
    os.mkfifo(tmp_path / "l-pipe.json")
    (tmp_path / "m-folder.json").mkdir()
    (tmp_path / "notes.txt").write_text("not a hand-in")
    return tmp_path


def test_each_hand_in_gets_a_verdict_and_a_sentence(folder: Path) -> None:
    grades = [*grade_folder(folder)]
    assert [each.file[0] for each in grades] == [*"abcdefghijklm"]
    assert [each.file[0] for each in grades if each.passed] == ["a", "b"]
    assert all(each.sentence and "\n" not in each.sentence for each in grades)
    said = {each.file[0]: each.sentence for each in grades}
    assert said["a"] == LESSONS["7"].meaning
    assert said["c"] == LESSONS["7"].milestones[1].missing
    assert said["d"].startswith("of another version")
    assert said["e"].startswith("move 15 is not possible in this lesson: ")
    assert said["f"].startswith("move 1 is not possible in this lesson")
    assert said["g"] == LESSONS["7"].milestones[0].missing
    assert said["i"] == "passed: Extra inputs are not permitted"
    assert said["j"].startswith("too long: 2,000,000 bytes")
    assert (said["k"], said["l"], said["m"]) == ("not a JSON file", "no file", "no file")


def test_a_check_that_fails_by_itself_is_one_line_as_well(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(grading, "read_hand_in", fails)
    grade = grade_file(folder / "a-good.json")
    assert grade.sentence == "the check failed by itself: ZeroDivisionError: of all things"
    assert not grade.passed


def test_the_student_of_a_hand_in_answers_who_did_lesson_11(tmp_path: Path) -> None:
    """The fault is that of the student who hands in, whatever name stands among the answers."""
    content = handed_in("11", student=LESSONS["11"].solution.answers["student"])
    mine, copied = tmp_path / "a.json", tmp_path / "b.json"
    mine.write_text(json.dumps(content))
    others = [f"student {number}" for number in range(40)]
    assert grade_file(mine).passed
    verdicts = []
    for student in others:
        copied.write_text(json.dumps({**content, "student": student}))
        verdicts.append(grade_file(copied).passed)
    assert verdicts.count(True) < len(others) / 2


def test_a_folder_without_hand_ins_is_wrong_input(tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match="no hand-in"):
        list(grade_folder(tmp_path))
    with pytest.raises(WrongInput, match="no folder"):
        list(grade_folder(tmp_path / "nowhere"))


def test_grades_as_files() -> None:
    grades = [Grade("a.json", "=1+1", "7", True, "good, and more"), Grade("b.json", "", "", False, "-x")]
    assert json.loads(json.dumps(as_json(grades)))[0]["passed"] is True
    rows = [*csv.reader(io.StringIO(as_csv(grades)))]
    assert rows == [
        ["file", "student", "lesson", "passed", "sentence"],
        ["a.json", "'=1+1", "7", "yes", "good, and more"],
        ["b.json", "", "", "no", "'-x"],
    ]
