"""What a person types: single keys where standard input is a terminal, otherwise the words of its lines."""

import os
import select
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, Protocol, TextIO

SECOND_DIGIT: Final = 0.7
"""Seconds in which the second digit of a number is waited for."""
WITH_ARGUMENT: Final = frozenset("fgw")
"""Keys that need a word: a design, a node, a file."""
ARROWS: Final = {"\x1b[B": "j", "\x1b[C": "j", "\x1b[A": "k", "\x1b[D": "k"}
"""Arrow keys: down and right go forward, up and left go back."""
END: Final = frozenset({"\x03", "\x04", "\x00", ""})
"""Ctrl-C, Ctrl-D, also where it was typed before it was read, and the end of the input."""


class Key(NamedTuple):
    """A key, or a number, with the word that it needs; `shows`: the frame is to be shown after it."""

    name: str
    word: str = ""
    shows: bool = True


class Keys(Protocol):
    """Where keys come from."""

    def read(self, most: int) -> Key | None:
        """Return the next key, or None at the end; numbers go up to `most`."""


class LineKeys:
    """Keys from lines: `j`, `jjk`, `12`, `f tracked`. A frame is shown after each line."""

    def __init__(self, stream: TextIO) -> None:
        self._keys = _keys_of(stream)

    def read(self, most: int) -> Key | None:
        """Return the next key, or None at the end."""
        del most
        return next(self._keys, None)


def _keys_of(stream: TextIO) -> Iterator[Key]:
    for line in stream:
        keys = list(keys_of_line(line))
        yield from (key._replace(shows=False) for key in keys[:-1])
        yield from keys[-1:]


def keys_of_line(line: str) -> Iterator[Key]:
    """Yield the keys of a line: a number is one, a word else is one for each letter."""
    words = iter(line.split())
    for word in words:
        if word.isdigit():
            yield Key(word)
        elif word in WITH_ARGUMENT:
            yield Key(word, next(words, ""))
        else:
            yield from map(Key, word)


class TerminalKeys:
    """Single keys of a terminal. `ask` reads a whole line, for the keys that need a word."""

    def __init__(self, descriptor: int, ask: Callable[[str], str] = input) -> None:
        self._descriptor, self._ask = descriptor, ask

    def read(self, most: int) -> Key | None:
        """Return the next key, or None at the end; a number may have two digits where `most` has."""
        pressed = self._pressed()
        if pressed in END:
            return None
        if pressed.isdigit() and int(pressed) * 10 <= most and (second := self._second_digit()):
            pressed += second
        name = ARROWS.get(pressed, pressed)
        try:
            return Key(name, self._ask(f"{name} ").strip() if name in WITH_ARGUMENT else "")
        except EOFError:
            return None

    def _pressed(self, seconds: float | None = None) -> str:
        before = termios.tcgetattr(self._descriptor)
        try:
            tty.setcbreak(self._descriptor, termios.TCSADRAIN)
            ready, _, _ = select.select([self._descriptor], [], [], seconds)
            return os.read(self._descriptor, 8).decode(errors="replace") if ready else ""
        finally:
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, before)

    def _second_digit(self) -> str:
        pressed = self._pressed(SECOND_DIGIT)
        return pressed if pressed.isdigit() else ""


def keys_for(stream: TextIO | None = None) -> Keys:
    """Return the keys of a stream, which is standard input unless it is given."""
    stream = sys.stdin if stream is None else stream
    return TerminalKeys(stream.fileno()) if stream.isatty() else LineKeys(stream)
