"""What is typed, as keys: the words of lines, and single keys of a terminal with numbers of two digits."""

import io
import os
import pty
from collections.abc import Iterator

import pytest

from pef_explorer.stepping.keys import Key, LineKeys, TerminalKeys, keys_for, keys_of_line


@pytest.mark.parametrize(
    ("line", "keys"),
    [
        ("j", [Key("j")]),
        ("jjk", [Key("j"), Key("j"), Key("k")]),
        ("12 j", [Key("12"), Key("j")]),
        ("f tracked", [Key("f", "tracked")]),
        ("g 4 w a.json", [Key("g", "4"), Key("w", "a.json")]),
        ("f", [Key("f")]),
        ("", []),
    ],
)
def test_a_line_is_keys(line: str, keys: list[Key]) -> None:
    assert list(keys_of_line(line)) == keys


def test_a_frame_is_shown_after_each_line() -> None:
    keys = keys_for(io.StringIO("jj\n\nk\n"))
    assert isinstance(keys, LineKeys)
    read = [keys.read(9) for _ in range(4)]
    assert read == [Key("j", shows=False), Key("j"), Key("k"), None]


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Give the end at which a person types, and the end that a program reads."""
    person, program = pty.openpty()
    yield person, program
    os.close(person)
    os.close(program)


def test_a_terminal_gives_single_keys(terminal: tuple[int, int]) -> None:
    person, program = terminal
    asked: list[str] = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return " tracked "

    keys = TerminalKeys(program, ask)
    for typed, key in (
        (b"j", Key("j")),
        (b"\x1b[A", Key("k")),
        (b"f", Key("f", "tracked")),
        (b"3", Key("3")),
        (b"\x04", None),
    ):
        os.write(person, typed)
        assert keys.read(20) == key
    assert asked == ["f "]


def test_a_number_may_have_two_digits(terminal: tuple[int, int]) -> None:
    person, program = terminal
    keys = TerminalKeys(program)
    for typed, most, key in ((b"1", 9, "1"), (b"2", 17, "2")):
        os.write(person, typed)
        assert keys.read(most) == Key(key)

    def types(seconds: float | None = None) -> str:
        return "1" if seconds is None else "7"

    keys._pressed = types  # type: ignore[method-assign]
    assert keys.read(17) == Key("17")
    assert keys.read(9) == Key("1")
