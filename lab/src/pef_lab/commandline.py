"""The form of the `pef` command: how it ends, and what it says then.

| status | means |
|---|---|
| 0 | it was done |
| 1 | a finding about what was examined: a design, a service, a file |
| 2 | wrong input, or a fault of the machine or its operator: one line says what to do |
| 70 | a fault of this program: a traceback |
| 128 + N | signal N ended it; 141: the reader of its output has left |
"""

import signal
import sys
import traceback
from contextlib import suppress
from typing import Any, Final

import typer

from pef_kit.core.designs import UnknownDesign
from pef_lab.failures import OperatorFault, Refusal, WrongInput
from pef_lab.output import give_up_streams, prepare_streams
from pef_lab.signals import Signalled, ended_by_signals, reader_has_left

FAILED: Final = 1
WRONG: Final = 2
"""Wrong input, or a fault of the machine or its operator."""
BROKEN: Final = 70
SIGNALLED: Final = 128
READER_LEFT: Final = SIGNALLED + signal.SIGPIPE


class Command(typer.Typer):
    """A typer application whose faults are one clear line."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command and end the process with its status."""
        raise SystemExit(self.run(*args, **kwargs))

    def run(self, *args: Any, **kwargs: Any) -> int:
        """Run the command and return its exit status."""
        try:
            prepare_streams()
            with ended_by_signals():
                status = super().__call__(*args, standalone_mode=False, **kwargs)
                sys.stdout.flush()
        except BaseException as fault:  # noqa: BLE001 - the one place where a fault becomes a status
            return _status_of(fault)
        return status if isinstance(status, int) else 0


def _status_of(fault: BaseException) -> int:
    """Say what ended the command, in one line where it can be, and return its exit status."""
    if reader_has_left():
        give_up_streams()
        return READER_LEFT
    match fault:
        case Signalled():
            return SIGNALLED + fault.number
        case typer.Abort() | KeyboardInterrupt():
            return SIGNALLED + signal.SIGINT
        case typer.TyperException():
            return _say(fault.format_message(), getattr(fault, "exit_code", WRONG))
        case WrongInput() | UnknownDesign() | OperatorFault() | Refusal():
            return _say(str(fault), WRONG)
        case OSError():
            give_up_streams()
            return _say(_words_of(fault), WRONG)
        case SystemExit():
            return fault.code if isinstance(fault.code, int) else WRONG
        case MemoryError():
            return _say("there is not enough memory", WRONG)
        case _:
            traceback.print_exception(fault)
            return BROKEN


def _words_of(fault: OSError) -> str:
    where = f"{fault.filename}: " if fault.filename else ""
    return f"{where}{fault.strerror or fault}"


def _say(fault: str, status: int) -> int:
    """Say a fault in one line on standard error, where there is one; return `status`."""
    words = fault if fault.startswith("Usage:") else "pef: " + " ".join(fault.split())
    if sys.stderr is not None:
        with suppress(OSError):
            typer.echo(words, err=True)
    return status
