"""An Ultravisor that is down, slow, or talks nonsense, under each operation of the VMM.

The operation ends in bounded time with an errno that says which call failed; the Hypervisor is as it was, or
in a state from which the VM can be reset and destroyed.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from model.live import LivePair, LivePlan, live_pair
from model.live_vm import BLANK, FREE, LiveVm, live_vm, secure_vm
from model.misdeeds import impossible
from pef_lab.between.go_between import Conduct
from pef_lab.between.misdeeds import dropped, garbage, late, unheard
from pef_lab.failures import Refusal
from pef_protocol.designs import Design
from pef_protocol.events import Side
from pef_protocol.quantities import PAGE_SIZE, gpa_of

pytestmark = pytest.mark.sockets

PEER_TIMEOUT = 0.5
BOUND = 12.0
ONE, TWO = FREE, FREE + 1
PLUGGED = 1 << 28

NOT_DONE: dict[str, Conduct] = {
    "dropped": dropped,
    "broken_json": garbage(b'{"code":'),
    "an_impossible_code": impossible,
}
EVERY = [
    pytest.param(answer, id=name) for name, answer in (NOT_DONE | {"unheard": unheard, "late": late}).items()
]


@dataclass(frozen=True, slots=True)
class Doing:
    """An operation of the VMM, and the ultracall that fails in it."""

    ultracall: str
    do: Callable[[LiveVm], Awaitable[object]]


OPERATIONS = {
    "plug": Doing("UV_REGISTER_MEM_SLOT", lambda vm: vm.pair.vmm.plug(vm.lpid, 1, PLUGGED, PAGE_SIZE)),
    "unplug": Doing("UV_UNREGISTER_MEM_SLOT", lambda vm: vm.pair.vmm.unplug(vm.lpid, 7)),
    "host_read": Doing("UV_PAGE_OUT", lambda vm: vm.host_read(ONE)),
    "host_write": Doing("UV_PAGE_OUT", lambda vm: vm.pair.vmm.write(vm.lpid, gpa_of(ONE), b"x")),
    "unmap": Doing("UV_PAGE_INVAL", lambda vm: vm.pair.vmm.unmap(vm.lpid, gpa_of(TWO), 1)),
    "reset": Doing("UV_SVM_TERMINATE", lambda vm: vm.pair.vmm.reset(vm.lpid)),
    "reset_at_its_slots": Doing("UV_UNREGISTER_MEM_SLOT", lambda vm: vm.pair.vmm.reset(vm.lpid)),
    "reset_at_its_end": Doing("UV_WRITE_PATE", lambda vm: vm.pair.vmm.reset(vm.lpid)),
    "destroy": Doing("UV_SVM_TERMINATE", lambda vm: vm.pair.vmm.destroy(vm.lpid)),
    "destroy_at_its_end": Doing("UV_WRITE_PATE", lambda vm: vm.pair.vmm.destroy(vm.lpid)),
}
IN_PLACE = ("plug", "unplug", "host_read", "host_write", "unmap")
"""Operations that a failure leaves undone; reset and destroy may have come half way, and are tried again."""


@pytest.fixture(scope="module")
async def pair() -> AsyncIterator[LivePair]:
    """Start a pair that waits half a second for its peer."""
    async with live_pair(LivePlan(variables=(("PEF_PEER_TIMEOUT", str(PEER_TIMEOUT)),))) as running:
        yield running


@pytest.fixture
async def vm(pair: LivePair) -> AsyncIterator[LiveVm]:
    """Make a secure VM with a private page, a shared one and a second slot."""
    async with secure_vm(pair) as secure:
        await pair.vmm.plug(secure.lpid, 7, PLUGGED + (1 << 27), PAGE_SIZE)
        await secure.write(ONE)
        await secure.guest.share(TWO)
        yield secure
        await settled(pair)


async def settled(pair: LivePair) -> None:
    """Check that nothing is left in flight, and that both sides hold what they promise."""
    await pair.to_ultravisor.settled()
    pair.to_ultravisor.honest_again()
    assert await pair.broken() == []
    for side in Side:
        for lpid in (await pair.watch.vms(side))[0]:
            assert not any(slot.moving for slot in await pair.watch.slots(side, lpid))


async def ended_well(vm: LiveVm) -> None:
    """Check that the VM can be reset and destroyed, and that nothing of it is left."""
    pair = vm.pair
    await settled(pair)
    if vm.lpid in (await pair.watch.vms(Side.HYPERVISOR))[0]:
        await pair.vmm.reset(vm.lpid)
        assert await pair.broken() == []
        await pair.vmm.destroy(vm.lpid)
    for side in Side:
        assert vm.lpid not in (await pair.watch.vms(side))[0]
    assert set((await pair.watch.pools()).values()) == {0}


@pytest.mark.parametrize("answer", EVERY)
@pytest.mark.parametrize("name", OPERATIONS)
async def test_an_operation_of_the_vmm_fails(pair: LivePair, vm: LiveVm, name: str, answer: Conduct) -> None:
    operation = OPERATIONS[name]
    before = (await pair.digests())[1]
    pair.to_ultravisor.honest_again()
    pair.to_ultravisor.answers(operation.ultracall, answer)
    async with asyncio.timeout(BOUND):
        if name == "reset_at_its_slots":
            await operation.do(vm)  # UV_SVM_TERMINATE ends the slots too
        else:
            with pytest.raises(Refusal, match=f"{operation.ultracall} to ultravisor: ") as refusal:
                await operation.do(vm)
            assert refusal.value.code in {"EINVAL", "EFAULT", "EBUSY"}
    await settled(pair)
    if name in IN_PLACE and operation.ultracall != "UV_PAGE_OUT":  # which may have been done unheard
        assert (await pair.digests())[1] == before, "the operation failed, and changed the Hypervisor"
    await ended_well(vm)


@pytest.mark.parametrize("answer", [pytest.param(answer, id=name) for name, answer in NOT_DONE.items()])
@pytest.mark.parametrize("name", IN_PLACE)
async def test_an_operation_that_failed_works_when_tried_again(
    pair: LivePair, vm: LiveVm, name: str, answer: Conduct
) -> None:
    operation = OPERATIONS[name]
    pair.to_ultravisor.answers(operation.ultracall, answer)
    with pytest.raises(Refusal, match=f"{operation.ultracall} to ultravisor: "):
        await operation.do(vm)
    if name != "host_write":
        await vm.reads_what_it_wrote()
    await operation.do(vm)
    if name != "host_write":
        await vm.reads_what_it_wrote()
    assert await vm.load(TWO) == BLANK
    await ended_well(vm)


@pytest.mark.parametrize("answer", EVERY)
async def test_creating_a_vm_fails(pair: LivePair, answer: Conduct) -> None:
    before = (await pair.digests())[1]
    pair.to_ultravisor.answers("UV_WRITE_PATE", answer)
    async with asyncio.timeout(BOUND):
        with pytest.raises(Refusal, match="UV_WRITE_PATE to ultravisor: "):
            await pair.vmm.create(Design.TRACKED)
    await settled(pair)
    assert (await pair.digests())[1] == before
    async with live_vm(pair) as vm:
        await vm.boot()
        await vm.image_is_whole()
        await ended_well(vm)


UNHEARD = [pytest.param(unheard, id="unheard"), pytest.param(late, id="late")]


@pytest.mark.parametrize("answer", UNHEARD)
@pytest.mark.parametrize("name", ["plug", "unplug"])
async def test_an_operation_that_was_done_unheard_works_when_tried_again(
    pair: LivePair, vm: LiveVm, name: str, answer: Conduct
) -> None:
    operation = OPERATIONS[name]
    pair.to_ultravisor.answers(operation.ultracall, answer)
    with pytest.raises(Refusal, match=f"{operation.ultracall} to ultravisor: "):
        await operation.do(vm)
    await settled(pair)
    await operation.do(vm)
    await vm.reads_what_it_wrote()


@pytest.mark.parametrize("answer", UNHEARD)
async def test_a_page_that_went_out_unheard_is_not_lost(pair: LivePair, vm: LiveVm, answer: Conduct) -> None:
    pair.to_ultravisor.answers("UV_PAGE_OUT", answer)
    with pytest.raises(Refusal, match="UV_PAGE_OUT to ultravisor: "):
        await vm.host_read(ONE)
    await settled(pair)
    await vm.host_read(ONE)
    await vm.reads_what_it_wrote()


@pytest.mark.parametrize("answer", UNHEARD)
async def test_an_unmap_that_was_done_unheard_works_when_tried_again(
    pair: LivePair, vm: LiveVm, answer: Conduct
) -> None:
    pair.to_ultravisor.answers("UV_PAGE_INVAL", answer)
    with pytest.raises(Refusal, match="UV_PAGE_INVAL to ultravisor: "):
        await OPERATIONS["unmap"].do(vm)
    await settled(pair)
    await OPERATIONS["unmap"].do(vm)
    assert await vm.load(TWO) == BLANK
    await ended_well(vm)
