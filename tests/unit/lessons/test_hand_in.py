"""A hand-in is read with bounds, and nothing in it is believed."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pef_lab.failures import WrongInput
from pef_lessons.all_lessons import LESSONS
from pef_lessons.hand_in import MOST_BYTES, answer_file, read_hand_in
from pef_lessons.script import make_moves

KEPT = Path(__file__).parents[3] / "docs" / "counterexamples"


def solved(number: str, student: str = "Ada") -> dict[str, Any]:
    lesson = LESSONS[number]
    session = lesson.session()
    make_moves(session, lesson.solution.script)
    return answer_file(lesson, session, lesson.solution.answers, student)


def written(folder: Path, content: Any) -> Path:
    path = folder / "hand-in.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_what_is_handed_in_is_read_again(tmp_path: Path) -> None:
    read = read_hand_in(written(tmp_path, solved("8")))
    assert (read.lesson.number, read.student) == ("8", "Ada")
    assert read.answers == LESSONS["8"].solution.answers
    session = read.session()
    assert len(session.path()) == 23
    assert read.lesson.check(session, read.answers).passed


def test_the_moves_begin_at_the_start_of_the_system(tmp_path: Path) -> None:
    """The opening of a lesson is a part of the path, and is made once."""
    content = solved("3")
    session = read_hand_in(written(tmp_path, content)).session()
    assert len(session.path()) - 1 == len(content["moves"])


def test_a_counterexample_is_a_hand_in_of_a_lesson_with_its_system(tmp_path: Path) -> None:
    found = KEPT / "broken-the-guest-finds-what-it-wrote.json"
    read = read_hand_in(found, "7")
    assert read.lesson.check(read.session()).passed
    with pytest.raises(WrongInput, match="names no lesson"):
        read_hand_in(found)
    with pytest.raises(WrongInput, match="of another system than lesson 8 has"):
        read_hand_in(found, "8")


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "another version": ({"format": "pef-lesson-answer/2"}, "of another version: 'pef-lesson-answer/2'"),
    "another format": ({"format": "pef-trace/1"}, "no hand-in: its format is neither"),
    "no lesson of that number": ({"lesson": "13"}, "there is no lesson '13'; there are 1 to 12"),
    "a lesson that is no text": ({"lesson": 7}, "lesson: Input should be a valid string"),
    "moves that are no list": ({"moves": "all of them"}, "moves: Input should be a valid tuple"),
    "a move without an actor": ({"moves": [{"action": "store"}]}, "moves.0.actor: Field required"),
    "a move with more than there is": (
        {"moves": [{"actor": "vmm", "action": "reset", "cheat": 1}]},
        "moves.0.cheat: Extra inputs are not permitted",
    ),
    "a fault that there is not": (
        {"moves": [{"actor": "vmm", "action": "go on", "fault": "stolen"}]},
        "move 1: there is no fault 'stolen'",
    ),
    "a GFN below zero": ({"moves": [{"actor": "vmm", "action": "reset", "gfn": -1}]}, "moves.0.gfn: Input"),
    "too many moves": ({"moves": [{"actor": "vmm", "action": "reset"}] * 401}, "at most 400 items"),
    "answers without end": ({"answers": {str(each): "x" for each in range(21)}}, "at most 20 items"),
    "a long answer": ({"answers": {"row": "x" * 401}}, "at most 400 characters"),
    "a verdict of its own": ({"passed": True}, "passed: Extra inputs are not permitted"),
}


@pytest.mark.parametrize(("change", "reason"), CHANGES.values(), ids=CHANGES)
def test_a_file_that_is_wrong_gets_one_line(change: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(WrongInput) as refused:
        read_hand_in(written(tmp_path, {**solved("7"), **change}))
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) <= 200


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a JSON file"),
        ("{" * 100_000, "not a JSON file"),
        ("[" * 100_000 + "]" * 100_000, "not a JSON file"),
        ("[]", "not a JSON object"),
        ('{"format": 1}', "no hand-in"),
        ('{"format": "pef-lesson-answer/1", "lesson": NaN}', "lesson: Input should be a valid string"),
        ("x" * (MOST_BYTES + 1), "too long: 1,048,577 bytes"),
    ],
    ids=range(7),
)
def test_a_file_of_something_else_gets_one_line(text: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match=reason):
        read_hand_in(written(tmp_path, text))


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    """A named pipe would be read without end."""
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    with pytest.raises(WrongInput, match="no file"):
        read_hand_in(pipe)
    with pytest.raises(WrongInput, match="no file"):
        read_hand_in(tmp_path)
    with pytest.raises(WrongInput, match="No such file"):
        read_hand_in(tmp_path / "nothing.json")


@pytest.mark.parametrize(
    ("move", "reason"),
    [
        ({"actor": "guest 0", "action": "share", "gfn": 1}, "move 1 is not possible in this lesson: "),
        ({"actor": "lecturer", "action": "pass"}, "move 1 is not possible in this lesson: "),
        ({"actor": "guest 0", "action": "go on", "fault": "refused"}, "move 1 is not possible"),
    ],
)
def test_a_move_that_is_not_possible_is_named(move: dict[str, Any], reason: str, tmp_path: Path) -> None:
    read = read_hand_in(written(tmp_path, {**solved("7"), "moves": [move]}))
    with pytest.raises(WrongInput, match=reason):
        read.session()


def test_a_rule_of_a_lesson_holds_for_a_hand_in(tmp_path: Path) -> None:
    esm = {"actor": "guest 0", "action": "UV_ESM"}
    read = read_hand_in(written(tmp_path, {**solved("1"), "moves": [esm]}))
    with pytest.raises(WrongInput, match="In this lesson the VM stays a normal VM"):
        read.session()


def test_a_file_of_another_lesson_is_refused_where_one_is_graded(tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match="of lesson '7', where lesson 8 is graded"):
        read_hand_in(written(tmp_path, solved("7")), "8")
