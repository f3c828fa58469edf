"""A Hypervisor is ready only once it fits the Ultravisor that answered its hello."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from harness.in_process import toy_service
from pef_hypervisor.dispatch import Hypervisor
from pef_hypervisor.epoch import Link, LinkState
from pef_kit.core.effects import Backoff, Effect, Operation, PeerFailure
from pef_kit.core.fence import Fence
from pef_kit.runtime.auth import Problem
from pef_kit.runtime.peer import Peer
from pef_protocol.events import Side
from pef_protocol.identity import Epoch, InstanceId

OWN = InstanceId("a" * 32)
TURNS = 1000
"""Turns of the loop in which all is done that nobody waits for."""
FIRST, SECOND = (Epoch(InstanceId(digit * 32), 1) for digit in "12")


class Ultravisor:
    """Tells its epoch, and begins the next one at a hello."""

    slots = False

    def __init__(self) -> None:
        self.epoch = FIRST
        self.hellos: list[str] = []

    async def exchange(self, method: str, _: str, form: Any = None) -> tuple[int, dict[str, Any]]:
        if method == "POST":
            self.hellos.append(form["epoch"])
            self.epoch = Epoch(self.epoch.instance, self.epoch.count + 1)
        return 200, {"epoch": str(self.epoch), "features": []}


class Machine:
    """A Hypervisor whose fitting goes as a test says, time after time, and then well."""

    def __init__(self, *failures: Exception) -> None:
        self.store = type("Store", (), {"epoch": None})()
        self.fitted = 0
        self.ended = 0
        self.before: list[Any] = []
        self.asks_on = False
        """Whether the first fitting goes on for as long as its epoch does."""
        self._failures: Iterator[Exception] = iter(failures)

    def fit_new_ultravisor(self) -> Operation[None]:
        yield from ()
        self.fitted += 1
        for observe in self.before:
            observe()
        for failure in self._failures:
            raise failure
        while self.asks_on and self.fitted == 1:
            yield Backoff(0, ignore_deadline=True)

    def end_operations(self) -> Operation[None]:
        yield from ()
        self.ended += 1


@pytest.fixture(autouse=True)
def nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pef_hypervisor.epoch.LONGEST_WAIT", 0.0)
    monkeypatch.setattr("pef_hypervisor.epoch.FIRST_WAIT", 0.0)


async def go_on(_: Effect) -> bool:
    """Answer a pause, after a turn of the others."""
    await asyncio.sleep(0)
    return True


@asynccontextmanager
async def linked(machine: Machine, ultravisor: Ultravisor) -> AsyncIterator[tuple[Link, Any]]:
    service = toy_service(side=Side.HYPERVISOR, perform=go_on)
    service.fence = Fence()
    link = Link(
        service, cast("Hypervisor", machine), cast("Peer", ultravisor), OWN, None, joined=lambda: None
    )
    await link.start()
    yield link, service
    await link.stop()


async def until(link: Link, state: LinkState) -> None:
    """Let the link go on until it is in `state`."""
    for _ in range(TURNS):
        if link.state is state:
            return
        await asyncio.sleep(0)
    raise AssertionError(f"{link.state} in the end, not {state}")


async def test_nothing_is_admitted_before_every_vm_fits() -> None:
    machine, ultravisor = Machine(), Ultravisor()
    seen: list[tuple[LinkState, bool]] = []
    async with linked(machine, ultravisor) as (link, service):
        machine.before = [lambda: seen.append((link.state, service.fits))]
        with pytest.raises(Problem):
            service.require_epoch()
        await until(link, LinkState.READY)
        service.require_epoch()
    assert seen == [(LinkState.JOINING, False)]


async def test_a_fitting_that_is_cut_off_begins_anew_in_the_same_epoch() -> None:
    machine, ultravisor = Machine(PeerFailure("UV_WRITE_PATE", "ultravisor", "broken")), Ultravisor()
    async with linked(machine, ultravisor) as (link, service):
        await until(link, LinkState.READY)
        service.require_epoch()
    assert (machine.fitted, len(ultravisor.hellos), machine.ended) == (2, 1, 0)


async def test_a_fitting_that_another_ultravisor_cut_off_begins_with_a_new_hello() -> None:
    machine, ultravisor = Machine(PeerFailure("UV_WRITE_PATE", "ultravisor", "broken")), Ultravisor()

    def restart() -> None:
        ultravisor.epoch = SECOND
        machine.before.clear()

    machine.before = [restart]
    async with linked(machine, ultravisor) as (link, service):
        await until(link, LinkState.READY)
        assert service.fence.epoch == Epoch(SECOND.instance, 2)
    assert (machine.fitted, len(ultravisor.hellos), machine.ended) == (2, 2, 1)


async def test_a_fitting_that_asks_on_is_ended_once_the_epoch_is_read_to_be_another_one() -> None:
    """Nothing else would end it: who answers says that the epoch is over, and that is a rumour."""
    machine, ultravisor = Machine(), Ultravisor()
    machine.asks_on = True
    async with linked(machine, ultravisor) as (link, service):
        link.doubt()
        for _ in range(TURNS):
            await asyncio.sleep(0)
        assert (machine.fitted, link.state, len(ultravisor.hellos)) == (1, LinkState.JOINING, 1)
        ultravisor.epoch = SECOND
        link.doubt()
        await until(link, LinkState.READY)
        service.require_epoch()
    assert (machine.fitted, len(ultravisor.hellos), machine.ended) == (2, 2, 1)


async def test_a_fitting_that_another_hypervisor_cut_off_is_the_last_thing_that_is_done() -> None:
    machine, ultravisor = Machine(PeerFailure("UV_WRITE_PATE", "ultravisor", "broken")), Ultravisor()

    def overtake() -> None:
        ultravisor.epoch = Epoch(FIRST.instance, 3)

    machine.before = [overtake]
    async with linked(machine, ultravisor) as (link, service):
        await until(link, LinkState.SUPERSEDED)
        with pytest.raises(Problem):
            service.require_epoch()
    assert (machine.fitted, len(ultravisor.hellos)) == (1, 1)
