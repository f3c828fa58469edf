"""Where commands write: standard output that may be of any encoding or have lost its reader, and files.

The stream and the file decide nothing about the work: what an encoding does not have is written in other
signs, and a file that can't be written is one line, after the rest of the result was shown.
"""

import codecs
import io
import os
import select
import signal
import stat
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from pef_lab.failures import OperatorFault, WrongInput

OTHER_SIGNS: Final = "pef-other-signs"
SIGNS: Final = str.maketrans(
    {
        **dict.fromkeys("✔", "+"),
        **dict.fromkeys("✘✗", "x"),
        **dict.fromkeys("▲", "!"),
        **dict.fromkeys("│┃┆", "|"),
        **dict.fromkeys("─━", "-"),
        **dict.fromkeys("▸▶→", ">"),
        **dict.fromkeys("◂◀←", "<"),
        **dict.fromkeys("·…", "."),
    }
)
"""The sign that stands for one that an encoding does not have; for each other one it is `SOME_SIGN`."""
SOME_SIGN: Final = "+"


class ReaderLeft(BaseException):
    """Nobody reads what the command prints any more."""


def in_other_signs(failure: UnicodeError) -> tuple[str, int]:
    """Return signs of ASCII for those that an encoding does not have: an error handler of `codecs`."""
    if not isinstance(failure, UnicodeEncodeError):
        raise failure
    signs = failure.object[failure.start : failure.end].translate(SIGNS)
    return "".join(sign if sign.isascii() else SOME_SIGN for sign in signs), failure.end


codecs.register_error(OTHER_SIGNS, in_other_signs)


def prepare_streams() -> None:
    """Have both streams write what they can; raise OperatorFault where there is no standard output."""
    if sys.stdout is None:
        message = "standard output is closed: nothing of the result could be shown"
        raise OperatorFault(message)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=OTHER_SIGNS)


def give_up_streams() -> None:
    """Have nothing more written to standard output, also not at the end of the process."""
    with suppress(OSError, ValueError, AttributeError):
        place = sys.stdout.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, place)
        os.close(nowhere)


@contextmanager
def reader_watched() -> Iterator[None]:
    """Raise ReaderLeft in the main thread, or have its event loop end as by SIGHUP, when the reader leaves.

    A command that computes for minutes would notice it only when it writes. Only a pipe or a socket has a
    reader that can leave.
    """
    place = _pipe_of_standard_output()
    if place is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    end, over = os.pipe()
    watching = _Watching(place, end)
    before = signal.signal(signal.SIGHUP, watching.handler)
    watcher = threading.Thread(target=watching.wait, name="reader", daemon=True)
    watcher.start()
    try:
        yield
    except SystemExit:
        if watching.left:
            raise ReaderLeft from None
        raise
    finally:
        os.close(over)
        watcher.join()
        os.close(end)
        signal.signal(signal.SIGHUP, before)
    if watching.left:
        raise ReaderLeft


def _pipe_of_standard_output() -> int | None:
    try:
        place = sys.stdout.fileno()
        mode = os.fstat(place).st_mode
    except (OSError, ValueError, AttributeError):
        return None
    return place if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else None


class _Watching:
    """Waits until the reader at the other end of `place` leaves, or until `end` says that all is over."""

    def __init__(self, place: int, end: int) -> None:
        self._place, self._end = place, end
        self.left = False

    def wait(self) -> None:
        """Send this process SIGHUP once the reader has left."""
        poll = select.poll()
        poll.register(self._place, 0)  # errors are always told
        poll.register(self._end, 0)
        if any(place == self._place for place, _ in poll.poll()):
            self.left = True
            os.kill(os.getpid(), signal.SIGHUP)

    def handler(self, number: int, _: object) -> None:
        """Raise ReaderLeft; where it was another who sent the signal, end as by default."""
        if self.left:
            raise ReaderLeft
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)


def must_be_writable(file: Path | None) -> None:
    """Raise WrongInput now rather than after minutes of running."""
    if file is None:
        return
    try:
        with file.open("a", encoding="utf-8"):
            pass
    except OSError as fault:
        raise WrongInput(f"{file}: {fault.strerror}") from None


def write_file(file: Path, parts: Iterable[str]) -> None:
    """Write a result as a file (UTF-8); raise OperatorFault where it can't be written, with the reason."""
    try:
        with file.open("w", encoding="utf-8", errors="backslashreplace") as opened:
            opened.writelines(parts)
    except OSError as fault:
        raise OperatorFault(f"{file}: {fault.strerror}") from None
