"""A pair of services on one event loop, in a thread of its own, each of whose callbacks is measured.

The time is the thread's CPU time, so what runs beside the test does not count.
"""

import asyncio
import gc
import secrets
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import pytest
import uvicorn
from pydantic import SecretStr

from pef_hypervisor.app import Settings as HypervisorSettings
from pef_hypervisor.app import build as build_hypervisor
from pef_kit.runtime.serve import configured
from pef_lab.endpoints import Endpoints
from pef_lab.service_process import READY
from pef_ultravisor.app import UltravisorSettings
from pef_ultravisor.app import build as build_ultravisor

GIB: Final = 1 << 30
LONGEST_CALLBACK: Final = 0.020
"""Seconds of its thread's CPU time that one callback on the event loop may take."""


ATTEMPTS: Final = 1000
TURNS: Final = 100
"""Turns of the loop in which what was closed is gone."""
STEP: Final = 0.02
"""Seconds between two looks at a service that starts."""


class Longest(NamedTuple):
    """Seconds of the longest callback: of its thread's CPU time, and by the clock."""

    processor: float = 0.0
    clock: float = 0.0


class Meter:
    """Notes the longest callback of one thread's event loop since it was last read."""

    def __init__(self) -> None:
        self.thread = 0
        self._longest = Longest()

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Measure every callback from now on."""
        plain = asyncio.Handle._run

        def measured(handle: asyncio.Handle) -> None:
            if threading.get_ident() != self.thread:
                plain(handle)
                return
            began, clock = time.thread_time(), time.perf_counter()
            plain(handle)
            took, by_clock = time.thread_time() - began, time.perf_counter() - clock
            self._longest = Longest(max(took, self._longest.processor), max(by_clock, self._longest.clock))

        patch.setattr(asyncio.Handle, "_run", measured)

    def read(self) -> float:
        """Return the longest callback (seconds of CPU time) and begin anew."""
        return self.read_both().processor

    def read_both(self) -> Longest:
        """Return the longest callback, and the one that was longest by the clock, and begin anew."""
        longest, self._longest = self._longest, Longest()
        return longest


class Server(uvicorn.Server):
    """A server that leaves the signals of the test run alone."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take no signal over."""
        yield


def unnamed_memory() -> Iterator[Path]:
    """Yield normal memory of this process that no other can map."""
    for handle in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if handle.readlink().name.startswith("memfd:pef-normal-memory"):
                yield handle


@dataclass(slots=True)
class MeasuredPair:
    """A running pair. `memory` is the directory of the file that holds normal memory."""

    endpoints: Endpoints
    meter: Meter = field(repr=False)
    memory: Path

    @property
    def allocated(self) -> int:
        """Return how many bytes of normal memory the machine has given."""
        files = [*self.memory.glob("normal-memory-*"), *unnamed_memory()]
        return sum(file.stat().st_blocks * 512 for file in files)


def until_ready(url: str) -> None:
    """Wait until a service has an epoch with its peer."""
    for _ in range(ATTEMPTS):
        try:
            if httpx.get(url + READY, trust_env=False).is_success:
                return
        except httpx.TransportError:
            pass
        threading.Event().wait(STEP)
    message = f"{url} is not ready"
    raise TimeoutError(message)


@contextmanager
def measured_pair(*, mapped: bool = True, memory: int = 2048 * GIB) -> Iterator[MeasuredPair]:
    """Start a pair whose secure and normal memory have `memory` bytes each; both cost what is touched."""
    directory = Path(tempfile.mkdtemp(prefix="pef-limits-", dir="/dev/shm"))
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    urls = ["http://{}:{}".format(*each.getsockname()) for each in sockets]
    tokens = {name: secrets.token_hex(16) for name in ("hypervisor", "ultravisor", "observer", "vmm")}
    keys = secrets.token_hex(16), secrets.token_hex(16)
    common: dict[str, Any] = {f"{name}_token": token for name, token in tokens.items() if name != "vmm"} | {
        "normal_memory_size": memory,
        "secure_memory": memory,
    }
    meter = Meter()
    started = threading.Event()
    ended: list[asyncio.Event] = []
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        of_hypervisor = HypervisorSettings(
            **common,
            peer_url=urls[0],
            guest_key=SecretStr(keys[1]),
            vmm_token=SecretStr(tokens["vmm"]),
            normal_memory=str(directory) if mapped else "",
        )
        hypervisor = Server(configured(build_hypervisor(of_hypervisor), of_hypervisor))
        of_ultravisor = UltravisorSettings(
            **common,
            peer_url=urls[1],
            guest_key=SecretStr(keys[0]),
            normal_memory=str(directory) if mapped else "",
        )
        ultravisor = Server(configured(build_ultravisor(of_ultravisor), of_ultravisor))
        servers = [ultravisor, hypervisor]
        tasks = [
            asyncio.ensure_future(server.serve([at])) for server, at in zip(servers, sockets, strict=True)
        ]
        meter.thread = threading.get_ident()
        loops.append(asyncio.get_running_loop())
        ended.append(asyncio.Event())
        started.set()
        await ended[0].wait()
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*tasks)
        for _ in range(TURNS):
            await asyncio.sleep(0)

    gc.collect()
    gc.freeze()  # as a service does at its start: what the tests hold is not the service's
    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="pair")
    with pytest.MonkeyPatch.context() as patch:
        meter.install(patch)
        thread.start()
        try:
            started.wait()
            endpoints = Endpoints(
                urls[0],
                urls[1],
                tokens["vmm"],
                tokens["observer"],
                *keys,
                ultravisor_token=tokens["ultravisor"],
                hypervisor_token=tokens["hypervisor"],
            )
            for url in urls:
                until_ready(url)
            yield MeasuredPair(endpoints, meter, directory)
        finally:
            if loops:
                loops[0].call_soon_threadsafe(ended[0].set)
            thread.join()
            gc.unfreeze()
            shutil.rmtree(directory, ignore_errors=True)
