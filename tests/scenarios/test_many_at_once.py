"""Many at once: calls that nest, race and fill secure memory. They end, and both sides still agree."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack

import pytest

from harness.hostile import uv_state
from harness.live import MIB, LivePair, LivePlan, live_pair
from harness.live_vm import FREE, LiveVm, live_vm, secure_vm
from harness.scenario import observe
from pef_lab.failures import Refusal
from pef_lab.joint import compare
from pef_protocol.codes import UCode
from pef_protocol.events import Side
from pef_protocol.quantities import PAGE_SIZE, gpa_of

pytestmark = [pytest.mark.sockets, pytest.mark.slow]

BOUND = 90.0
"""Seconds after which something stands still."""


@pytest.fixture(scope="module")
async def pair() -> AsyncIterator[LivePair]:
    """Start a pair without go-betweens: these tests are about its own connections."""
    async with live_pair(LivePlan(secure_memory=512 * MIB, between=False)) as running:
        yield running


async def all_at_once(actions: Iterable[Awaitable[object]]) -> None:
    """Do all of it at the same time, in bounded time."""
    async with asyncio.timeout(BOUND), asyncio.TaskGroup() as tasks:
        for action in actions:
            tasks.create_task(_done(action))


async def _done(action: Awaitable[object]) -> None:
    await action


async def agree(pair: LivePair, vms: Iterable[LiveVm]) -> None:
    """Check both sides' own invariants, and that their tables of each VM agree."""
    assert await pair.broken() == []
    for vm in vms:
        tables = compare(
            await pair.watch.slots(Side.HYPERVISOR, vm.lpid),
            await pair.watch.slots(Side.ULTRAVISOR, vm.lpid),
            vm.design,
        )
        assert tables.agree, str(tables)
    pools = await pair.watch.pools()
    assert pools[Side.HYPERVISOR] == pools[Side.ULTRAVISOR]


async def test_sixteen_vms_become_secure_at_once(pair: LivePair) -> None:
    """Given sixteen VMs with their images.

    When all call UV_ESM at once,
    then all become secure, find their images, and read what they write.
    """
    async with AsyncExitStack() as stack:
        vms = [await stack.enter_async_context(live_vm(pair)) for _ in range(16)]
        await all_at_once(vm.load_image() for vm in vms)
        replies = [asyncio.create_task(vm.secure()) for vm in vms]
        await all_at_once(replies)
        assert {task.result().code for task in replies} == {UCode.U_SUCCESS}
        await all_at_once(vm.image_is_whole() for vm in vms)
        await all_at_once(vm.write(FREE) for vm in vms)
        await all_at_once(vm.reads_what_it_wrote() for vm in vms)
        await agree(pair, vms)


async def test_sixty_four_loads_of_paged_out_pages_at_once(pair: LivePair) -> None:
    """Given a secure VM with 64 paged-out pages.

    When all are loaded at once,
    then each load gives what the guest wrote.
    """
    async with secure_vm(pair) as vm:
        gfns = range(FREE, FREE + 64)
        await all_at_once(vm.write(gfn) for gfn in gfns)
        await pair.vmm.read(vm.lpid, gpa_of(FREE), 64 * PAGE_SIZE)
        assert await uv_state(vm, FREE) == await uv_state(vm, FREE + 63) == "PAGEDOUT"

        async def loads(gfn: int) -> None:
            assert await vm.load(gfn) == vm.wrote[gfn]

        await all_at_once(loads(gfn) for gfn in gfns)
        await agree(pair, [vm])


async def test_sixty_four_loads_of_the_same_paged_out_page_at_once(pair: LivePair) -> None:
    """Given a secure VM with one paged-out page.

    When 64 loads of it begin at once,
    then each gives what the guest wrote.
    """
    async with secure_vm(pair) as vm:
        await vm.write(FREE)
        for _ in range(3):
            await vm.page_out(FREE)
            loaded = [asyncio.create_task(vm.load(FREE)) for _ in range(64)]
            await all_at_once(loaded)
            assert {task.result() for task in loaded} == {vm.wrote[FREE]}
        await agree(pair, [vm])


async def test_loads_across_many_vms_at_once(pair: LivePair) -> None:
    """Given four secure VMs with 16 paged-out pages each.

    When all are loaded at once,
    then each load gives what the guest wrote.
    """
    async with AsyncExitStack() as stack:
        vms = [await stack.enter_async_context(secure_vm(pair)) for _ in range(4)]
        await all_at_once(vm.write(gfn) for vm in vms for gfn in range(FREE, FREE + 16))
        await all_at_once(pair.vmm.read(vm.lpid, gpa_of(FREE), 16 * PAGE_SIZE) for vm in vms)
        await all_at_once(vm.reads_what_it_wrote() for vm in vms)
        await agree(pair, vms)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_everything_races_on_the_same_few_pages(pair: LivePair, seed: int) -> None:
    """Given a secure VM.

    When twelve vCPUs and the host do anything to the same four pages at once,
    then some is refused, the VM stays secure, both sides agree, and it goes on.
    """
    async with secure_vm(pair) as vm:
        dice = random.Random(seed)
        few = range(FREE, FREE + 4)

        def actions(gfn: int) -> list[Callable[[], Awaitable[object]]]:
            return [
                lambda: vm.guest.share(gfn),
                lambda: vm.guest.unshare(gfn),
                lambda: vm.host_read(gfn),
                lambda: vm.load(gfn),
                lambda: vm.guest.store(gpa_of(gfn), b"racing"),
                lambda: pair.vmm.unmap(vm.lpid, gpa_of(gfn), 1),
                lambda: vm.guest.share(FREE, 4),
                vm.guest.unshare_all,
            ]

        async def vcpu(script: list[Callable[[], Awaitable[object]]]) -> list[str]:
            refusals = []
            for action in script:
                try:
                    await action()
                except Refusal as refusal:
                    refusals.append(str(refusal))
            return refusals

        tasks = [
            asyncio.create_task(vcpu([dice.choice(actions(dice.choice(few))) for _ in range(12)]))
            for _ in range(12)
        ]
        await all_at_once(tasks)
        refused = [refusal for task in tasks for refusal in task.result()]
        assert len(refused) < 12 * 12
        seen = await observe(vm)
        assert seen.vm.ultravisor == "SECURE", f"the SVM is {seen.vm.ultravisor}: {refused}"
        await agree(pair, [vm])
        for gfn in few:
            await vm.write(gfn)
        await vm.reads_what_it_wrote()
        await vm.image_is_whole()


@pytest.mark.verify
async def test_svms_that_are_together_larger_than_secure_memory() -> None:
    """Given two SVMs that are together larger than secure memory.

    When each writes and reads its pages in turn,
    then pages leave and come back, and each reads what it wrote.
    """
    plan = LivePlan(secure_memory=20 * MIB, between=False)
    async with live_pair(plan) as pair, secure_vm(pair) as one, secure_vm(pair) as other:
        before = await pair.watch.counters()
        gfns = range(FREE, FREE + 90)
        async with asyncio.timeout(BOUND):
            for vm in (one, other):
                for gfn in gfns:
                    await vm.write(gfn)
            for vm in (one, other, one):
                await vm.reads_what_it_wrote()
                await vm.image_is_whole()
        page_outs = [
            event for event in await pair.watch.answered_calls() if event["name"] == "H_SVM_PAGE_OUT"
        ]
        assert page_outs
        assert (await pair.watch.counters()).since(before).gfns_carried > 0
        out = [
            run
            for vm in (one, other)
            for slot in await pair.watch.slots(Side.HYPERVISOR, vm.lpid)
            for run in slot.states
            if run[2] == "PAGED_OUT"
        ]
        assert out
        await agree(pair, [one, other])
        async with asyncio.timeout(BOUND):
            await asyncio.gather(one.reads_what_it_wrote(), other.reads_what_it_wrote())
        await agree(pair, [one, other])


@pytest.mark.verify
async def test_svms_that_are_larger_than_secure_memory_use_it_all_at_once() -> None:
    """Given two SVMs that are together larger than secure memory.

    When both write and read all their pages at once,
    then all ends, and each reads what it wrote.
    """
    plan = LivePlan(secure_memory=18 * MIB, between=False)
    async with live_pair(plan) as pair, secure_vm(pair) as one, secure_vm(pair) as other:
        gfns = range(FREE, FREE + 90)
        await all_at_once(vm.write(gfn) for vm in (one, other) for gfn in gfns)
        for _ in range(2):
            await all_at_once([one.reads_what_it_wrote(), other.reads_what_it_wrote()])
        await all_at_once(vm.load(gfn) for gfn in gfns for vm in (one, other))
        await agree(pair, [one, other])
