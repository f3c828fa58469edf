"""The form of the `pef` command: wrong input is one line and status 2; a signal stops what was started."""

import asyncio
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

import typer

from pef_kit.core.designs import UnknownDesign
from pef_lab.failures import Refusal, Unanswered, WrongInput

T = TypeVar("T")
WRONG_INPUT: Final = 2
FAILED: Final = 1
SIGNALLED: Final = 128


class Command(typer.Typer):
    """A typer application whose faults are one clear line."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command and end the process with its status."""
        raise SystemExit(self.run(*args, **kwargs))

    def run(self, *args: Any, **kwargs: Any) -> int:
        """Run the command and return its exit status."""
        try:
            status = super().__call__(*args, standalone_mode=False, **kwargs)
        except typer.TyperException as fault:
            return _say(fault.format_message(), getattr(fault, "exit_code", WRONG_INPUT))
        except (WrongInput, UnknownDesign) as fault:
            return _say(str(fault), WRONG_INPUT)
        except (Refusal, Unanswered) as fault:
            return _say(str(fault), FAILED)
        except typer.Abort:
            return SIGNALLED + signal.SIGINT
        return status if isinstance(status, int) else 0


def must_be_writable(file: Path | None) -> None:
    """Raise WrongInput now rather than after minutes of running."""
    if file is None:
        return
    try:
        with file.open("a", encoding="utf-8"):
            pass
    except OSError as fault:
        raise WrongInput(f"{file}: {fault.strerror}") from None


def _say(fault: str, status: int) -> int:
    is_help = fault.startswith("Usage:")
    typer.echo(fault if is_help else f"pef: {fault}", err=True)
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
