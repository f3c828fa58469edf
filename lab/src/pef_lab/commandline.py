"""The form of the `pef` command: how it ends, and what it says then.

| status | means |
|---|---|
| 0 | it was done |
| 1 | a finding about what was examined: a design, a service, a file |
| 2 | wrong input, or a fault of the machine or its operator: one line says what to do |
| 70 | a fault of this program: a traceback |
| 128 + N | signal N ended it; 141: the reader of its output has left |
"""

import asyncio
import signal
import sys
import traceback
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

import typer

from pef_kit.core.designs import UnknownDesign
from pef_lab.failures import OperatorFault, Refusal, WrongInput
from pef_lab.output import ReaderLeft, give_up_streams, prepare_streams, reader_watched

T = TypeVar("T")
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
            with reader_watched():
                status = super().__call__(*args, standalone_mode=False, **kwargs)
                sys.stdout.flush()
        except typer.TyperException as fault:
            return _say(fault.format_message(), getattr(fault, "exit_code", WRONG))
        except (WrongInput, UnknownDesign, OperatorFault, Refusal) as fault:
            return _say(str(fault), WRONG)
        except (ReaderLeft, BrokenPipeError):
            give_up_streams()
            return READER_LEFT
        except OSError as fault:
            give_up_streams()
            return _say(_words_of(fault), WRONG)
        except MemoryError:
            return _say("there is not enough memory", WRONG)
        except typer.Abort:
            return SIGNALLED + signal.SIGINT
        except Exception:  # noqa: BLE001 - a fault of this program must not look like a finding
            traceback.print_exc()
            return BROKEN
        return status if isinstance(status, int) else 0


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


def run(work: Coroutine[Any, Any, T], *, signal_is_end: bool = False) -> T:
    """Run `work` to its end. A signal cancels it, so that it stops what it started, and ends the command.

    The command's status then tells the signal; it is 0 for work that a signal is meant to end.
    """
    return asyncio.run(_until_signalled(work, signal_is_end=signal_is_end))


async def _until_signalled(work: Coroutine[Any, Any, T], *, signal_is_end: bool) -> T:
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work)
    received: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        received.append(number)
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not received:
            raise
        raise typer.Exit(0 if signal_is_end else SIGNALLED + received[0]) from None
