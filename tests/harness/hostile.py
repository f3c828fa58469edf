"""The measure of an attack that came to nothing."""

from harness.canaries import file_contents
from harness.live import LivePair
from harness.live_vm import LiveVm
from pef_lab.failures import Refusal
from pef_protocol.calls import Reply
from pef_protocol.codes import Code
from pef_protocol.events import Side


async def foiled(pair: LivePair, request: object, code: Code) -> Reply:
    """Check that an ultracall of the Hypervisor is refused with a code, and changes neither side."""
    before = await pair.digests()
    reply = await pair.ultracall(request)
    assert reply.code is code, f"{request}: {reply}"
    assert await pair.digests() == before, f"{request} was refused, and changed something"
    return reply


async def uv_state(vm: LiveVm, gfn: int) -> str:
    """Return the state of a GFN as the Ultravisor shows it."""
    return await _state(vm, Side.ULTRAVISOR, gfn)


async def hv_state(vm: LiveVm, gfn: int) -> str:
    """Return the state of a GFN as the Hypervisor shows it."""
    return await _state(vm, Side.HYPERVISOR, gfn)


async def _state(vm: LiveVm, side: Side, gfn: int) -> str:
    runs = [run for slot in await vm.pair.watch.slots(side, vm.lpid) for run in slot.states]
    return next((state for first, count, state in runs if first <= gfn < first + count), "no slot")


async def vm_state(vm: LiveVm, side: Side = Side.ULTRAVISOR) -> str:
    """Return the state of the VM as a side lists it; nothing where it does not."""
    record = (await vm.pair.watch.vms(side))[0].get(vm.lpid)
    return record.state if record else ""


async def refused_load(vm: LiveVm, gfn: int) -> str:
    """Return why a load of the guest is refused; fail where it resolves."""
    try:
        await vm.load(gfn)
    except Refusal as refusal:
        return refusal.detail
    raise AssertionError(f"the load of page {gfn:#x} resolved")


def nothing_leaked(vm: LiveVm) -> None:
    """Check that no page that the guest wrote is in normal memory, or passed between the two sides."""
    bodies = (("a body", exchange.everything) for exchange in vm.pair.exchanges)
    assert vm.flock.in_all(file_contents(vm.pair.normal_memory)) == set()
    assert vm.flock.in_all(bodies) == set()
