"""Where commands write: standard output that may be of any encoding or have lost its reader, and files.

The stream and the file decide nothing about the work: what an encoding does not have is written in other
signs, and a file that can't be written is one line, after the rest of the result was shown.
"""

import codecs
import io
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
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


def in_other_signs(failure: UnicodeError) -> tuple[str, int]:
    """Return signs of ASCII for those that an encoding does not have: an error handler of `codecs`."""
    if not isinstance(failure, UnicodeEncodeError):
        raise failure
    signs = failure.object[failure.start : failure.end].translate(SIGNS)
    return "".join(sign if sign.isascii() else SOME_SIGN for sign in signs), failure.end


codecs.register_error(OTHER_SIGNS, in_other_signs)


def prepare_streams() -> None:
    """Have both streams write what they can; raise OperatorFault where there is no standard output.

    Where there is no standard error, what would be written there is lost.
    """
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - as long as the process
    if sys.stdout is None:
        raise OperatorFault("standard output is closed: nothing of the result could be shown")
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
