"""Hellos that come late, again or overtaken, and two Hypervisors at one Ultravisor: attacks 56 and 58."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import httpx
import pytest
from aiohttp import web

from harness.live_vm import FREE
from harness.restarts import (
    Restartable,
    at_port,
    guest_of,
    make_secure,
    restartable,
    why_not_ready,
)
from pef_lab.between.fault_injections import dropped
from pef_lab.between.passing import Passing
from pef_lab.between.script import honest
from pef_lab.failures import Unanswered
from pef_lab.ports import free_ports
from pef_lab.vmm import Vmm
from pef_protocol.designs import Design
from pef_protocol.events import Side
from pef_protocol.quantities import PAGE_SIZE, gpa_of

pytestmark = [pytest.mark.sockets, pytest.mark.slow]

PAGE = b"what a guest wrote".ljust(PAGE_SIZE, b".")
BOUND = 60.0


@pytest.fixture
async def over_http() -> AsyncIterator[Restartable]:
    """Start a pair without a directory of normal memory: no lock keeps a second Hypervisor away."""
    async with restartable(mapped=False) as one:
        yield one


async def test_56_a_hello_that_comes_late_or_again_ends_nothing(over_http: Restartable) -> None:
    """Given a Hypervisor whose first hello was lost, and a secure VM.

    When each hello arrives once more,
    then each is answered 200, the epoch stays, and the guest reads what it wrote.
    """
    pair = over_http
    hellos: list[Passing] = []

    async def lose_the_first(passing: Passing) -> web.StreamResponse:
        hellos.append(passing)
        return await (honest if len(hellos) > 1 else dropped)(passing)

    pair.kill(Side.HYPERVISOR)
    pair.to_ultravisor.always("hello", lose_the_first)
    pair.start(Side.HYPERVISOR)
    await pair.ready()
    before = await pair.epoch()
    async with guest_of(pair.endpoints, pair.vmm) as guest:
        await make_secure(guest, pair.vmm, await pair.image())
        await guest.store(gpa_of(FREE), PAGE)
        assert len(hellos) >= 2
        for hello in hellos:
            assert (await hello.forward()).status == httpx.codes.OK
        assert await pair.epoch() == before
        assert await guest.load(gpa_of(FREE), PAGE_SIZE) == PAGE


async def test_56_a_hello_that_was_overtaken_ends_nothing(over_http: Restartable) -> None:
    """Given a Hypervisor that was started twice, and a secure VM of the second start.

    When the hello of each start arrives once more,
    then the first one's is refused with 409, the epoch stays, and the guest reads what it wrote.
    """
    pair = over_http
    hellos: list[Passing] = []

    async def keep(passing: Passing) -> web.StreamResponse:
        hellos.append(passing)
        return await honest(passing)

    pair.to_ultravisor.always("hello", keep)
    for _ in range(2):
        pair.kill(Side.HYPERVISOR)
        pair.start(Side.HYPERVISOR)
        await pair.ready()
    before = await pair.epoch()
    async with guest_of(pair.endpoints, pair.vmm) as guest:
        await make_secure(guest, pair.vmm, await pair.image())
        await guest.store(gpa_of(FREE), PAGE)
        statuses = [(await hello.forward()).status for hello in hellos]
        assert statuses == [httpx.codes.CONFLICT, httpx.codes.OK]
        assert await pair.epoch() == before
        assert await guest.load(gpa_of(FREE), PAGE_SIZE) == PAGE


async def test_58_a_second_hypervisor_does_not_start_where_one_holds_normal_memory() -> None:
    """Given a Hypervisor that holds normal memory, has a secure VM and is stopped.

    When a second Hypervisor is started beside it,
    then the second one ends and says why, the epoch stays, and the guest reads what it wrote.
    """
    async with restartable() as pair:
        before = await pair.epoch()
        async with guest_of(pair.endpoints, pair.vmm) as guest:
            await make_secure(guest, pair.vmm, await pair.image())
            await guest.store(gpa_of(FREE), PAGE)
            os.kill(pair.running[Side.HYPERVISOR].pid, signal.SIGSTOP)
            second = pair.start_another_hypervisor(free_ports(1)[0])
            async with asyncio.timeout(BOUND):
                await asyncio.to_thread(second._process.wait)
            assert "another hypervisor holds" in second.last_words()
            assert await pair.epoch() == before
            assert await guest.load(gpa_of(FREE), PAGE_SIZE) == PAGE


async def test_58_a_hypervisor_that_was_paused_stands_down_and_ends_no_svm_of_the_next(
    over_http: Restartable,
) -> None:
    """Given a Hypervisor that was paused, a second one that took over, and a secure VM of the second.

    When the first one goes on and is asked for operations,
    then it says that it was superseded and does none, and the second one's VM goes on.
    """
    pair, (port,) = over_http, free_ports(1)
    first = pair.running[Side.HYPERVISOR]
    async with guest_of(pair.endpoints, pair.vmm) as old:
        await make_secure(old, pair.vmm, await pair.image())
        os.kill(first.pid, signal.SIGSTOP)
        second = pair.start_another_hypervisor(port)
        there = at_port(pair.endpoints, port)
        pair.to_hypervisor.upstream = there.hypervisor_url
        await second.until_ready(there.hypervisor_url)
        now = await pair.epoch()
        async with Vmm(there) as vmm, guest_of(there, vmm) as guest:
            await make_secure(guest, vmm, await pair.image())
            await guest.store(gpa_of(FREE), PAGE)
            os.kill(first.pid, signal.SIGCONT)
            with pytest.raises(Unanswered):
                await pair.vmm.create(Design.TRACKED)
            async with asyncio.timeout(BOUND):
                await why_not_ready(pair.endpoints.hypervisor_url, "superseded")
            with pytest.raises(Unanswered, match="superseded"):
                await pair.vmm.destroy(old.lpid)
            assert await pair.epoch() == now
            assert await guest.load(gpa_of(FREE), PAGE_SIZE) == PAGE
            await vmm.plug(guest.lpid, 1, 1 << 28, PAGE_SIZE)
    assert not first.ended
