"""A guest that keeps all its vCPUs busy can be ended, whatever they do.

Source: attack 55; rule 12 of ARCHITECTURE.md, "Identity and time".
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Final

import pytest

from harness.live import LivePair, LivePlan, live_pair
from harness.live_vm import FREE, LiveVm, live_vm, secure_vm
from pef_lab.failures import Refusal, Unanswered
from pef_protocol.quantities import PAGE_SIZE, gpa_of

pytestmark = pytest.mark.sockets

VCPUS: Final = 32
BOUND: Final = 60.0
"""Seconds after which the test says that the VM can't be ended."""

Turn = Callable[[LiveVm, int], Awaitable[object]]
End = Callable[[LiveVm], Awaitable[None]]


@pytest.fixture(scope="module")
async def pair() -> AsyncIterator[LivePair]:
    async with live_pair(LivePlan(between=False)) as running:
        yield running


class Vcpus:
    """The vCPUs of a VM, each of which does the same again and again, whatever comes of it."""

    def __init__(self, vm: LiveVm, turn: Turn) -> None:
        self.over = False
        self.turns = [0] * VCPUS
        self.all_have_begun = asyncio.Event()
        self._tasks = [asyncio.ensure_future(self._run(vm, turn, number)) for number in range(VCPUS)]

    async def _run(self, vm: LiveVm, turn: Turn, number: int) -> None:
        while not self.over:
            with suppress(Refusal, Unanswered):
                await turn(vm, number)
            self.turns[number] += 1
            if all(self.turns):
                self.all_have_begun.set()

    async def stop(self) -> None:
        """Let each end its turn."""
        self.over = True
        await asyncio.gather(*self._tasks)


async def memory(vm: LiveVm, number: int) -> None:
    """Store to a page, have the host move it out, share it and take it back."""
    gfn = FREE + number
    await vm.guest.store(gpa_of(gfn), bytes(PAGE_SIZE))
    await vm.host_read(gfn)
    await vm.guest.load(gpa_of(gfn), PAGE_SIZE)
    await vm.guest.share(gfn)
    await vm.guest.unshare(gfn)


async def failing_esm(vm: LiveVm, _: int) -> None:
    """Make a UV_ESM that fails once its image was brought."""
    await vm.guest.enter_secure_mode(vm.image.kernel_base + PAGE_SIZE, vm.image.fdt_address)


async def reset(vm: LiveVm) -> None:
    """Reset the VM."""
    await vm.pair.vmm.reset(vm.lpid)


async def destroy(vm: LiveVm) -> None:
    """Destroy the VM."""
    await vm.pair.vmm.destroy(vm.lpid)


@pytest.mark.parametrize("end", [reset, destroy])
async def test_55_a_secure_vm_whose_vcpus_are_all_busy_is_ended(pair: LivePair, end: End) -> None:
    """Given a secure VM whose vCPUs all share, unshare and fault without a pause.

    When the VMM resets or destroys the VM,
    then that ends in time, the guest's loads are refused, and secure memory is free.
    """
    async with asyncio.timeout(BOUND), secure_vm(pair) as vm:
        vcpus = Vcpus(vm, memory)
        await vcpus.all_have_begun.wait()
        await end(vm)
        with pytest.raises((Refusal, Unanswered)):
            await vm.guest.load(gpa_of(FREE), 1)
        await vcpus.stop()
    assert set((await pair.watch.pools()).values()) == {0}
    assert await pair.broken() == []


async def test_55_a_vm_that_makes_failing_uv_esms_for_ever_is_destroyed(pair: LivePair) -> None:
    """Given a VM whose vCPUs all make failing UV_ESMs without a pause.

    When the VMM destroys the VM,
    then that ends in time, and secure memory is free.
    """
    async with asyncio.timeout(BOUND), live_vm(pair) as vm:
        await vm.load_image()
        vcpus = Vcpus(vm, failing_esm)
        await vcpus.all_have_begun.wait()
        await destroy(vm)
        await vcpus.stop()
    assert set((await pair.watch.pools()).values()) == {0}
    assert await pair.broken() == []
