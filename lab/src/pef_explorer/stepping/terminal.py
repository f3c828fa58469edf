"""The loop of `pef step`: shows the frame of the cursor, reads a key, and does what it means."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from rich.console import Console

from pef_explorer.actions.move import GO_ON
from pef_explorer.session.errors import NotPossible, SessionFull
from pef_explorer.session.saved import saved
from pef_explorer.session.session import Session
from pef_explorer.stepping.keys import Key, Keys, keys_for
from pef_explorer.stepping.screen import HELP, screen_of
from pef_lab.failures import WrongInput
from pef_lab.known_designs import known_designs, known_name
from pef_lab.output import must_be_writable, write_file
from pef_lab.tables import console_for
from pef_lab.version import commit

QUIT: Final = "q"


def step_through(
    session: Session, save: Path | None = None, *, console: Console | None = None, keys: Keys | None = None
) -> Session:
    """Let a person step through a session until they quit; return the session that they are in then.

    `save`: the file to which that session is written at the end, as JSON.
    """
    loop = Loop(session, console or console_for(), keys or keys_for())
    loop.run()
    if save is not None:
        write_file(save, json.dumps(saved(loop.session), indent=1) + "\n")
    return loop.session


class Loop:
    """A session that is shown; `before`: those that it was forked from."""

    def __init__(self, session: Session, console: Console, keys: Keys) -> None:
        self.session, self.console, self.keys = session, console, keys
        self.before: list[Session] = []
        self.all_moves = False
        self.message = ""
        self._does: Mapping[str, Callable[[str], object]] = {
            "j": self._forward,
            " ": self._forward,
            "k": lambda _: self.session.back(),
            "e": lambda _: self.session.run("end"),
            "v": lambda _: self.session.run("violation"),
            "r": lambda _: self.session.run("quiescent"),
            "f": self._fork,
            "u": self._unfork,
            "g": self._goto,
            "m": self._toggle,
            "w": self._write,
            "?": lambda _: self._say(HELP),
        }

    def run(self) -> None:
        """Show and read until the end."""
        self._show()
        while key := self.keys.read(len(self.session.frame().moves)):
            if key.name == QUIT:
                return
            self._do(key)
            if key.shows:
                self._show()

    def _do(self, key: Key) -> None:
        try:
            if key.name.isdigit():
                self._move(int(key.name))
            elif key.name in self._does:
                self._does[key.name](key.word)
            elif key.name.strip():
                self._say(f"There is no key {key.name!r}; ? shows which there are.")
        except (NotPossible, SessionFull, WrongInput) as reason:
            self._say(str(reason))

    def _show(self) -> None:
        if self.console.is_terminal:
            self.console.clear()
        frame = self.session.frame()
        self.console.print(screen_of(frame, all_moves=self.all_moves, message=self.message))
        self.message = ""

    def _say(self, message: str) -> None:
        self.message = message

    def _move(self, number: int) -> None:
        chosen = next((each for each in self.session.choices() if each.n == number), None)
        if chosen is None:
            raise NotPossible(f"There is no move {number}.")
        self.session.move(chosen.move)

    def _forward(self, _: str) -> None:
        """Go along what was made; where nothing was, let the first open call go on."""
        if self.session.nodes[self.session.at].children:
            self.session.forward()
            return
        going_on = [each.move for each in self.session.choices() if each.move.action == GO_ON]
        if not going_on:
            raise NotPossible("Nothing is open: choose a move by its number.")
        self.session.move(going_on[0])

    def _fork(self, design: str) -> None:
        if design not in known_designs():
            raise NotPossible(f"Which design? There are {', '.join(known_designs())}.")
        copied = self.session.copy(design=known_name(design))
        self.before.append(self.session)
        self.session = copied

    def _unfork(self, _: str) -> None:
        if not self.before:
            raise NotPossible("This session is no fork.")
        self.session = self.before.pop()

    def _goto(self, number: str) -> None:
        if not number.isdigit():
            raise NotPossible("Which node? Give its number.")
        self.session.goto(int(number))

    def _toggle(self, _: str) -> None:
        self.all_moves = not self.all_moves

    def _write(self, name: str) -> None:
        if not name:
            raise NotPossible("To which file? Give its name.")
        content = self.session.counterexample(command="pef step", commit=commit())
        file = Path(name)
        must_be_writable(file)
        write_file(file, json.dumps(content, indent=1) + "\n")
        self._say(f"{file}: {len(content['steps'])} steps; pef replay {file} plays them.")
