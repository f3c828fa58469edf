"""An Ultravisor that drops an ultracall, is late with it or talks nonsense, under each operation of the VMM.

What has no outcome is asked for again, for as long as it takes, and acts once; the Hypervisor never gives up.
A refusal of the message is an answer. That another Hypervisor has taken over is a rumour and no outcome, for
`GET /v1/epoch` says what is true. Rules 4, 7 and 9 of ARCHITECTURE.md, "Identity and time".
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import pytest
from aiohttp import web

from harness.fault_injections import impossible
from harness.hostile import vm_state
from harness.live import LivePair, LivePlan, live_pair
from harness.live_vm import BLANK, FREE, LiveVm, live_vm, secure_vm
from harness.once import done_once
from pef_lab.between.fault_injections import broken, dropped, forgotten, garbage, late, refused, unanswered
from pef_lab.between.go_between import Conduct
from pef_lab.between.passing import Passing
from pef_lab.failures import Refusal
from pef_protocol.events import Side
from pef_protocol.problems import ProblemType
from pef_protocol.quantities import PAGE_SIZE, gpa_of

pytestmark = pytest.mark.sockets

PEER_TIMEOUT = 0.5
"""Seconds of one attempt: `late` and `unanswered` last as long."""
ONE, TWO = FREE, FREE + 1
PLUGGED = 1 << 28
TRIES = 4


async def another_epoch_after_it(passing: Passing) -> web.StreamResponse:
    """Have the request carried out, and say that another Hypervisor has taken over."""
    await passing.forward()
    return await ANOTHER_EPOCH(passing)


ANOTHER_EPOCH = refused(ProblemType.OTHER_EPOCH, 409)
NO_OUTCOME: dict[str, Conduct] = {
    "dropped": dropped,
    "forgotten": forgotten,
    "broken_json": garbage(b'{"code":'),
    "an_impossible_code": impossible,
    "not_now": refused(ProblemType.NOT_NOW, 503),
    "another_epoch": ANOTHER_EPOCH,
    "another_epoch_after_it": another_epoch_after_it,
    "unanswered": unanswered,
    "late": late,
}
EVERY = [pytest.param(answer, id=name) for name, answer in NO_OUTCOME.items()]
FEW = ("dropped", "forgotten", "another_epoch", "another_epoch_after_it", "late")
A_FEW = [pytest.param(NO_OUTCOME[name], id=name) for name in FEW]


@dataclass(frozen=True, slots=True)
class Doing:
    """An operation of the VMM, and the ultracall that fails in it."""

    ultracall: str
    do: Callable[[LiveVm], Awaitable[object]]


IN_PLACE = {
    "plug": Doing("UV_REGISTER_MEM_SLOT", lambda vm: vm.pair.vmm.plug(vm.lpid, 1, PLUGGED, PAGE_SIZE)),
    "unplug": Doing("UV_UNREGISTER_MEM_SLOT", lambda vm: vm.pair.vmm.unplug(vm.lpid, 7)),
    "host_read": Doing("UV_PAGE_OUT", lambda vm: vm.host_read(ONE)),
    "host_write": Doing("UV_PAGE_OUT", lambda vm: vm.pair.vmm.write(vm.lpid, gpa_of(ONE), b"x")),
    "unmap": Doing("UV_PAGE_INVAL", lambda vm: vm.pair.vmm.unmap(vm.lpid, gpa_of(TWO), 1)),
}
"""Operations that leave the VM as it was where the ultracall is refused."""
ENDING = {
    "reset": Doing("UV_SVM_TERMINATE", lambda vm: vm.pair.vmm.reset(vm.lpid)),
    "reset_at_its_end": Doing("UV_WRITE_PATE", lambda vm: vm.pair.vmm.reset(vm.lpid)),
    "destroy": Doing("UV_SVM_TERMINATE", lambda vm: vm.pair.vmm.destroy(vm.lpid)),
    "destroy_at_its_end": Doing("UV_WRITE_PATE", lambda vm: vm.pair.vmm.destroy(vm.lpid)),
}
OPERATIONS = IN_PLACE | ENDING


@pytest.fixture(scope="module")
async def pair() -> AsyncIterator[LivePair]:
    """Start a pair that waits half a second for an answer before it asks again."""
    async with live_pair(LivePlan(variables=(("PEF_PEER_TIMEOUT", str(PEER_TIMEOUT)),))) as running:
        yield running


@pytest.fixture
async def vm(pair: LivePair) -> AsyncIterator[LiveVm]:
    """Make a secure VM with a private page, a shared one and a second slot; end it well."""
    async with secure_vm(pair) as secure:
        await pair.vmm.plug(secure.lpid, 7, PLUGGED + (1 << 27), PAGE_SIZE)
        await secure.write(ONE)
        await secure.guest.share(TWO)
        yield secure
        await ended_well(secure)


async def settled(pair: LivePair) -> None:
    """Check that nothing is in flight, that both sides hold what they promise, and no call acted twice."""
    await pair.to_ultravisor.settled()
    pair.to_ultravisor.honest_again()
    assert await pair.broken() == []
    for side in Side:
        for lpid in (await pair.watch.vms(side))[0]:
            assert not any(slot.moving for slot in await pair.watch.slots(side, lpid))
    await done_once(pair.watch)


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


async def is_done(vm: LiveVm, name: str) -> None:
    """Check what an operation has come to, as the guest and both sides see it."""
    states = [await vm_state(vm, side) for side in Side]
    if name.startswith("destroy"):
        assert states == ["", ""]
    elif name.startswith("reset"):
        assert states == ["NORMAL", "NORMAL"]
    else:
        assert states == ["SECURE", "SECURE"]
        assert await vm.load(TWO) == BLANK
        slots = {slot.slotid for slot in await vm.pair.watch.slots(Side.ULTRAVISOR, vm.lpid)}
        assert slots == {"plug": {0, 1, 7}, "unplug": {0}}.get(name, {0, 7})
    if name in {"host_read", "unmap", "plug", "unplug"}:
        await vm.reads_what_it_wrote()


@pytest.mark.parametrize("answer", A_FEW)
@pytest.mark.parametrize("name", OPERATIONS)
async def test_the_ultracall_of_an_operation_may_be_lost(
    pair: LivePair, vm: LiveVm, name: str, answer: Conduct
) -> None:
    """Given a secure VM, and an Ultravisor whose answer is lost once.

    When the VMM does an operation,
    then its ultracall is made again and acts once, and the operation is done.
    """
    pair.to_ultravisor.answers(OPERATIONS[name].ultracall, answer)
    await OPERATIONS[name].do(vm)
    await settled(pair)
    await is_done(vm, name)


@pytest.mark.parametrize("answer", EVERY)
async def test_creating_a_vm_goes_on_where_its_ultracall_has_no_outcome(
    pair: LivePair, answer: Conduct
) -> None:
    """Given an Ultravisor whose answer to UV_WRITE_PATE has no outcome at first.

    When a VM is created,
    then the call is made again, and the VM becomes secure.
    """
    pair.to_ultravisor.answers("UV_WRITE_PATE", answer)
    async with live_vm(pair) as vm:
        await vm.boot()
        await vm.image_is_whole()
        await ended_well(vm)


@pytest.mark.parametrize("name", OPERATIONS)
async def test_an_operation_waits_until_the_wire_heals(pair: LivePair, vm: LiveVm, name: str) -> None:
    """Nobody gives up: the VM stays what it is meanwhile, and then the operation is done."""
    tried = asyncio.Event()

    async def drops(passing: Passing) -> web.StreamResponse:
        if pair.to_ultravisor.names.count(passing.name) >= TRIES:
            tried.set()
        return await dropped(passing)

    operation = OPERATIONS[name]
    pair.to_ultravisor.honest_again()
    pair.to_ultravisor.always(operation.ultracall, drops)
    doing = asyncio.ensure_future(operation.do(vm))
    await tried.wait()
    assert not doing.done()
    await pair.broken()
    pair.to_ultravisor.honest_again()
    await doing
    await settled(pair)
    await is_done(vm, name)


@pytest.mark.parametrize("name", IN_PLACE)
async def test_an_operation_whose_message_is_refused_changes_nothing_and_can_be_tried_again(
    pair: LivePair, vm: LiveVm, name: str
) -> None:
    """Given a secure VM.

    When the message of an operation's ultracall is refused,
    then the operation fails, the Hypervisor is unchanged, and the operation can be tried again.
    """
    operation = OPERATIONS[name]
    before = (await pair.digests())[1]
    pair.to_ultravisor.answers(operation.ultracall, refused(ProblemType.OTHER, 422))
    with pytest.raises(Refusal, match=f"{operation.ultracall} to ultravisor: ") as refusal:
        await operation.do(vm)
    assert refusal.value.code in {"EINVAL", "EFAULT", "EBUSY", "EIO"}
    await settled(pair)
    assert (await pair.digests())[1] == before, "the operation failed, and changed the Hypervisor"
    await operation.do(vm)
    await is_done(vm, name)


@pytest.mark.parametrize("name", OPERATIONS)
async def test_a_vm_can_be_ended_where_nobody_knows_what_was_done(
    pair: LivePair, vm: LiveVm, name: str
) -> None:
    """Given a secure VM, and an operation of which nobody knows what was done.

    When the VM is reset and destroyed,
    then nothing of it is left.
    """
    pair.to_ultravisor.answers(OPERATIONS[name].ultracall, broken)
    with suppress(Refusal):
        await OPERATIONS[name].do(vm)
    await settled(pair)
