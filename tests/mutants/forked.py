"""Services with mutants in them, forked from one process that has imported everything: each is there at once.

The process that forks is the standard library's fork server. It begins with the first service that is asked
for, and ends with whoever asked; so does each service, however that ends.
"""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing import forkserver, get_context, parent_process
from pathlib import Path
from typing import Final

from harness.processor_time import WATCHED
from pef_lab import pair, service_process
from pef_lab.failures import Unanswered
from pef_lab.rows import passes
from pef_lab.service_process import READY, ServiceProcess
from pef_mutants.all_mutants import ALL_MUTANTS
from pef_mutants.exchange import only_in
from pef_mutants.service import SERVICES
from pef_protocol.events import Side

CONTEXT: Final = get_context("forkserver")
TESTS: Final = str(Path(__file__).parents[1])
STARTING: Final = 30.0
"""Seconds that a service may take until it listens."""
_STEP: Final = 0.003
_PATH: Final = "PYTHONPATH"
_OURS: Final = "PEF_"


def begin(*modules: str) -> None:
    """Begin the process that forks, unless it is there; it has imported `modules` as well."""
    CONTEXT.set_forkserver_preload(["mutants.warm", "mutants.forked", *modules])
    before = os.environ.get(_PATH)
    os.environ[_PATH] = TESTS if before is None else os.pathsep.join((TESTS, before))
    try:
        forkserver.ensure_running()
    finally:
        del os.environ[_PATH]
        if before is not None:
            os.environ[_PATH] = before


def end_with_starter() -> None:
    """Have this process end as soon as the one that asked for it is gone."""
    starter = parent_process()

    def watch() -> None:
        if starter is not None:
            starter.join()
            os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def serve(mutants: Sequence[str], side: Side, variables: dict[str, str], log: str) -> None:
    """Apply mutants and serve a side with them, in a process that was forked for it."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(output, sys.stdout.fileno())
    os.dup2(output, sys.stderr.fileno())
    for name in [name for name in os.environ if name.startswith(_OURS)]:
        del os.environ[name]
    os.environ.update(variables)
    with ExitStack() as applied:
        for name in mutants:
            applied.enter_context(ALL_MUTANTS[name].applied())
        end_with_starter()
        SERVICES[side]()


class ForkedService(ServiceProcess):
    """The process of a service with mutants in it; stands where a `ServiceProcess` does."""

    def __init__(
        self, script: str, variables: dict[str, str], log: Path, *, mutants: Sequence[str] = ()
    ) -> None:
        side = Side(script.removeprefix("pef-"))
        self.name = side.capitalize()
        self.log = log
        self._port = int(variables["PEF_PORT"])
        begin()
        log.touch()
        self._forked = CONTEXT.Process(target=serve, args=(mutants, side, variables, str(log)), daemon=False)
        self._forked.start()
        WATCHED.add(self.pid)

    @property
    def pid(self) -> int:
        """Return the process's id."""
        return self._forked.pid or 0

    @property
    def ended(self) -> bool:
        """Tell whether the process is no more."""
        return not self._forked.is_alive()

    @property
    def status(self) -> int | None:
        """Return the exit status, negative where a signal ended the process, or None while it runs."""
        return self._forked.exitcode

    async def until_ready(
        self, base_url: str, path: str = READY, *, beside: Sequence[ServiceProcess] = ()
    ) -> None:
        """Wait until something listens, and answers OK; raise Unanswered where it ends or takes too long."""
        what = f"start of the {self.name}"
        try:
            async with asyncio.timeout(STARTING):
                while not await self._listens():
                    for each in (self, *beside):
                        each.must_run()
                    await asyncio.sleep(_STEP)
        except TimeoutError:
            raise Unanswered(what, f"{base_url} is not there within {STARTING:g} s") from None
        await super().until_ready(base_url, path, beside=beside)

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            return False
        writer.close()
        return True

    def ask_to_stop(self) -> None:
        """End the process: it has nothing to put away."""
        self._forked.kill()

    def stop(self) -> None:
        """End the process, and reap it."""
        self.ask_to_stop()
        self._forked.join()
        WATCHED.discard(self.pid)
        self._forked.close()


@contextmanager
def forked(*names: str) -> Iterator[None]:
    """Have every service that the lab starts in this process meanwhile be forked, with mutants in it."""

    def start(
        script: str, variables: dict[str, str], log: Path, *, mutants: Sequence[str] = ()
    ) -> ForkedService:
        return ForkedService(script, variables, log, mutants=(*names, *mutants))

    with ExitStack() as exchanged:
        for module in (service_process, passes, pair):
            exchanged.enter_context(only_in(module, "ServiceProcess", start))
        yield
