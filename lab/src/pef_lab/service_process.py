"""One service as a process of its own: started, waited for, stopped."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import httpx

from pef_lab import ends_with_starter
from pef_lab.failures import Unanswered

STARTING: Final = 30.0
"""Seconds that a service may take until it is ready."""
STOPPING: Final = 5.0
"""Seconds that a service may take to end before it is killed."""
LIVE: Final = "/livez"
READY: Final = "/readyz"
"""Where a service says that it runs, and that it has an epoch with its peer."""
WITH_MUTANTS: Final = "pef_mutants.service"
"""The module that runs a service with mutants in it. Only a process that is asked for one imports it."""
LOOKS: Final = 20
"""Times that one looks whether a process is reaped whose connections have broken."""
WHY: Final = {
    signal.SIGBUS: ": /dev/shm has no room for normal memory; `--normal-memory http` does without it",
    signal.SIGKILL: ": the machine may have too little memory",
}
SILENT: Final = "it said nothing"
_STEP: Final = 0.03
_OURS: Final = "PEF_"


class ServiceProcess:
    """The process of a service, run by the console script `script` of this environment.

    With `mutants` the service has these deliberate faults: see `python -m pef_mutants`, which lists them.

    Its environment is ours without what is named `PEF_…`, and `variables`; its output goes to `log`. It has a
    session of its own: Ctrl-C reaches whoever started it, who then stops it. It ends with the thread that
    started it, even where that is killed.
    """

    def __init__(
        self, script: str, variables: dict[str, str], log: Path, *, mutants: Sequence[str] = ()
    ) -> None:
        side = script.removeprefix("pef-")
        self.name = side.capitalize()
        self.log = log
        program = Path(sys.executable).with_name(script)
        if not program.exists():
            raise Unanswered(f"start of the {self.name}", f"{program} is not installed")
        with_mutants = [sys.executable, "-P", "-m", WITH_MUTANTS, side, *mutants]
        command = with_mutants if mutants else [str(program)]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", ends_with_starter.__file__, *command],
                env=inherited | variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Return the process's id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Return the exit status, negative where a signal ended the process, or None while it runs."""
        return self._process.poll()

    @property
    def ended(self) -> bool:
        """Tell whether the process is no more."""
        return self._process.poll() is not None

    def last_words(self) -> str:
        """Return the last line that the process printed: a service ends with the reason in one line."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "")

    def end(self) -> str:
        """Say how the process ended, and why where a signal tells it."""
        status = self.status or 0
        if status >= 0:
            return f"the {self.name} ended: {self.last_words() or SILENT}"
        number = signal.Signals(-status)
        return f"the {self.name} was ended by {number.name}{WHY.get(number, '')}"

    async def ends_soon(self) -> bool:
        """Tell whether the process is no more, or is no more in a moment."""
        for _ in range(LOOKS):
            if self.ended:
                break
            await asyncio.sleep(_STEP)
        return self.ended

    def must_run(self) -> None:
        """Raise Unanswered, with the reason, where the process has ended."""
        if self.ended:
            raise Unanswered(f"start of the {self.name}", f"it ended: {self.last_words() or SILENT}")

    async def until_ready(
        self, base_url: str, path: str = READY, *, beside: "Sequence[ServiceProcess]" = ()
    ) -> None:
        """Wait until `path` answers OK; raise Unanswered where the process ends or takes too long.

        It is not ready without those `beside` it: where one of them ends, that one is named.
        """
        what = f"start of the {self.name}"
        async with httpx.AsyncClient(base_url=base_url, trust_env=False, timeout=STARTING) as client:
            try:
                async with asyncio.timeout(STARTING):
                    while not await _is_ready(client, path):
                        for each in (self, *beside):
                            each.must_run()
                        await asyncio.sleep(_STEP)
            except TimeoutError:
                said = self.last_words() or SILENT
                raise Unanswered(what, f"not ready within {STARTING:g} s: {said}") from None

    def ask_to_stop(self) -> None:
        """Ask the process to end."""
        if not self.ended:
            self._process.terminate()

    def stop(self) -> None:
        """End the process, by force if it must be, and reap it."""
        self.ask_to_stop()
        try:
            self._process.wait(STOPPING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


async def _is_ready(client: httpx.AsyncClient, path: str) -> bool:
    try:
        return (await client.get(path)).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
