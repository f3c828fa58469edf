"""`pef lesson`, as it is typed."""

import csv
import io
import json
from pathlib import Path

import pytest

from pef_lab.cli import app
from pef_lessons.all_lessons import LESSONS
from pef_lessons.hand_in import answer_file
from pef_lessons.script import make_moves

COUNTEREXAMPLES = Path(__file__).parents[3] / "docs" / "counterexamples"


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def solved(number: str) -> str:
    lesson = LESSONS[number]
    session = lesson.session()
    make_moves(session, lesson.solution.script)
    return json.dumps(answer_file(lesson, session, lesson.solution.answers, "Ada"))


def test_the_list_has_each_lesson_with_its_goal(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["lesson", "list"]) == 0
    printed = capsys.readouterr().out
    assert all(f"{lesson.title}\n      {lesson.goal}\n" in printed for lesson in LESSONS.values())


def test_a_lesson_that_is_started_leaves_a_hand_in_that_is_not_passed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run(["lesson", "start", "12", "--student", "Ada"]) == 0
    printed = capsys.readouterr().out
    assert LESSONS["12"].goal in printed
    content = json.loads((tmp_path / "lesson-12.json").read_text())
    assert (content["student"], content["moves"]) == ("Ada", [])
    assert [*content["answers"]] == [question.name for question in LESSONS["12"].questions]
    assert app.run(["lesson", "check", "lesson-12.json"]) == 1
    assert capsys.readouterr().out.startswith(
        "✘ not yet: The question 'tracked-messages' is not answered yet"
    )


def test_a_hand_in_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    mine = tmp_path / "mine.json"
    mine.write_text(solved("12"))
    assert app.run(["lesson", "start", "12", "--hand-in", str(mine)]) == 0
    assert mine.read_text() == solved("12")
    assert app.run(["lesson", "check", str(mine)]) == 0


def test_moves_that_are_made_in_the_terminal_come_into_the_hand_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Given the keys of half a solution, and later those of the other half; then the hand-in passes."""
    session = LESSONS["1"].session()

    def number_of(line: str) -> str:
        """Return the number that the list of moves has for a move."""
        (found,) = (choice.n for choice in session.choices() if choice.label == line.removesuffix(" ..."))
        make_moves(session, [line])
        return str(found)

    first, second, third, fourth = (number_of(line) for line in LESSONS["1"].solution.script)
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{first} {second}\n"))
    assert app.run(["lesson", "start", "1", "--student", "Ada"]) == 0
    assert f"✘ not yet: {LESSONS['1'].milestones[1].missing}" in capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{third} {fourth}\n"))
    assert app.run(["lesson", "start", "1"]) == 0
    assert f"✔ passed: {LESSONS['1'].meaning}" in capsys.readouterr().out
    handed_in = json.loads((tmp_path / "lesson-1.json").read_text())
    assert (handed_in["student"], len(handed_in["moves"])) == ("Ada", 4)
    assert app.run(["lesson", "check", "lesson-1.json"]) == 0


def test_a_hand_in_that_is_none_is_named_before_anything_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lesson-1.json").write_text("[]")
    assert app.run(["lesson", "start", "1"]) == 2
    assert capsys.readouterr() == ("", "pef: lesson-1.json: not a JSON object\n")
    assert (tmp_path / "lesson-1.json").read_text() == "[]"


def test_a_fork_on_another_design_is_not_handed_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("1\nf tracked\n"))
    assert app.run(["lesson", "start", "8"]) == 0
    assert len(json.loads((tmp_path / "lesson-8.json").read_text())["moves"]) == 1


def test_lesson_10_leaves_the_template_and_keeps_what_was_filled(tmp_path: Path) -> None:
    assert app.run(["lesson", "start", "10"]) == 0
    template = tmp_path / "lesson-10" / "three_holes.py"
    template.write_text(template.read_text() + "# mine\n")
    assert app.run(["lesson", "start", "10"]) == 0
    assert template.read_text().endswith("# mine\n")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["start", "13"], "pef: there is no lesson '13'; there are 1 to 12\n"),
        (["start", "11"], "pef: lesson 11 chooses the fault by your name: give it by --student NAME\n"),
        (["check", "nothing.json"], "pef: nothing.json: no such file\n"),
        (["grade", "nowhere"], "pef: nowhere: no folder\n"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["lesson", *words]) == 2
    assert capsys.readouterr().err == line


def test_a_class_is_graded_into_a_table_and_two_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "class"
    folder.mkdir()
    (folder / "ada.json").write_text(solved("1"))
    (folder / "bob.json").write_text(solved("1").replace("pef-lesson-answer/1", "pef-lesson-answer/0"))
    (folder / "eve.json").write_text(solved("1").replace('"Ada"', '"\\u001b[31mEve"'))
    words = ["lesson", "grade", str(folder), "--json", "grades.json", "--csv", "grades.csv"]
    assert app.run(words) == 0
    printed = capsys.readouterr().out
    assert "3 hand-ins, 2 passed" in printed
    assert "\x1b[31mEve" not in printed
    assert [each["passed"] for each in json.loads(Path("grades.json").read_text())] == [True, False, True]
    with Path("grades.csv").open(newline="") as opened:
        assert [row["passed"] for row in csv.DictReader(opened)] == ["yes", "no", "yes"]


def test_a_counterexample_is_checked_where_the_lesson_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    kept = (
        Path(__file__).parents[3] / "docs" / "counterexamples" / "broken-the-guest-finds-what-it-wrote.json"
    )
    assert app.run(["lesson", "check", str(kept)]) == 1
    assert "say which by --lesson" in capsys.readouterr().out
    assert app.run(["lesson", "check", str(kept), "--lesson", "7"]) == 0
