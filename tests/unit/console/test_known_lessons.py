"""The lessons that are installed, as the page lists them."""

from types import SimpleNamespace

import pytest

from pef_console import known_lessons as lessons

ONE = SimpleNamespace(
    number="7",
    title="one move",
    goal="Make a move.",
    text="Any move.",
    hints=("Any.", "Really any."),
    questions=(SimpleNamespace(name="why", text="Why?", choices=("so",)),),
)


def test_without_lessons_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lessons, "find_spec", lambda _: None)
    assert (lessons.known_lessons(), lessons.listed_lessons()) == ({}, [])


def test_a_lesson_is_listed_without_its_hints(monkeypatch: pytest.MonkeyPatch) -> None:
    modules = {"pef_lessons.all_lessons": SimpleNamespace(LESSONS={"7": ONE})}
    monkeypatch.setattr(lessons, "find_spec", lambda _: object())
    monkeypatch.setattr(lessons, "import_module", modules.__getitem__)
    assert lessons.listed_lessons() == [
        {
            "number": "7",
            "title": "one move",
            "goal": "Make a move.",
            "text": "Any move.",
            "questions": [{"name": "why", "text": "Why?", "choices": ["so"]}],
            "hints": 2,
        }
    ]
