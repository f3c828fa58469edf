"""A Hypervisor that never answers: after the give-up time the SVM is aborted, and nothing of it is left.

The Hypervisor says nothing, or that a fault of its own leaves nobody who knows. Rule 9 of ARCHITECTURE.md,
"Identity and time": the end is of what the call was for, never only of the call.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest

from harness.hostile import vm_state
from harness.live import LivePair, LivePlan, live_pair
from harness.live_vm import FREE, LiveVm, live_vm, secure_vm
from harness.once import done_once
from pef_lab.between.fault_injections import broken, dropped, forgotten, silent
from pef_lab.between.go_between import Conduct
from pef_lab.failures import Refusal
from pef_protocol.codes import UCode
from pef_protocol.events import Side

pytestmark = pytest.mark.sockets

GIVE_UP = 1.0
BOUND = 30.0
"""Seconds in which a guest's call must have ended, without waits for a processor: many times the bound."""
ONE = FREE
ANSWERS: dict[str, Conduct] = {
    "dropped": dropped,
    "forgotten": forgotten,
    "silent": silent,
    "broken": broken,
}
NEVER = [pytest.param(answer, id=name) for name, answer in ANSWERS.items()]


@pytest.fixture(scope="module")
async def pair() -> AsyncIterator[LivePair]:
    """Start a pair whose Ultravisor gives up after a second."""
    variables = (("PEF_PEER_TIMEOUT", "0.4"), ("PEF_GIVE_UP", str(GIVE_UP)))
    async with live_pair(LivePlan(variables=variables)) as running:
        yield running


@pytest.fixture(autouse=True)
def honest_first(pair: LivePair) -> None:
    """Forget what the test before had the Hypervisor do."""
    pair.to_hypervisor.honest_again()


async def ended_well(vm: LiveVm) -> None:
    """Check that the VM can be reset and destroyed once the wire heals, and that nothing of it is left."""
    pair = vm.pair
    pair.to_hypervisor.honest_again()
    await pair.to_hypervisor.settled()
    await pair.vmm.reset(vm.lpid)
    assert await vm_state(vm) == await vm_state(vm, Side.HYPERVISOR) == "NORMAL"
    assert set((await pair.watch.pools()).values()) == {0}
    await done_once(pair.watch)
    assert await pair.broken() == []
    await pair.vmm.destroy(vm.lpid)
    for side in Side:
        assert vm.lpid not in (await pair.watch.vms(side))[0]


@pytest.mark.verify
@pytest.mark.parametrize("answer", NEVER)
@pytest.mark.parametrize(
    "name",
    ["H_SVM_INIT_START", "H_SVM_PAGE_IN", "H_SVM_INIT_DONE"],
)
async def test_60_uv_esm_ends_whatever_is_never_delivered(pair: LivePair, name: str, answer: Conduct) -> None:
    """Given a Hypervisor that never answers one hypercall of UV_ESM, nor H_SVM_INIT_ABORT.

    When the guest calls UV_ESM,
    then it ends with U_STATE, and the VM can be reset and destroyed.
    """
    async with live_vm(pair) as vm:
        await vm.load_image()
        for each in (name, "H_SVM_INIT_ABORT"):
            pair.to_hypervisor.always(each, answer)
        async with asyncio.timeout(BOUND):
            reply = await vm.secure()
        assert reply.code is UCode.U_STATE, reply
        assert await vm_state(vm) != "SECURE"
        await ended_well(vm)


@pytest.mark.parametrize("answer", NEVER)
async def test_an_svm_is_aborted_whose_share_has_no_outcome(pair: LivePair, answer: Conduct) -> None:
    """Given a Hypervisor that never answers a share.

    When the guest shares a page,
    then the share fails, the SVM is aborted, and the VM can be reset and destroyed.
    """
    async with secure_vm(pair) as vm:
        await vm.write(ONE)
        pair.to_hypervisor.always("H_SVM_PAGE_IN", answer)
        async with asyncio.timeout(BOUND):
            with pytest.raises(Refusal, match="H_SVM_PAGE_IN to hypervisor: "):
                await vm.guest.share(ONE)
        assert await vm_state(vm) == "ABORT"
        await ended_well(vm)


@pytest.mark.parametrize("answer", NEVER)
async def test_an_svm_is_aborted_whose_page_never_comes(pair: LivePair, answer: Conduct) -> None:
    """Given a paged-out page, and a Hypervisor that never brings it.

    When the guest loads it,
    then the load fails, the SVM is aborted, and the VM can be reset and destroyed.
    """
    async with secure_vm(pair) as vm:
        await vm.write(ONE)
        await vm.page_out(ONE)
        pair.to_hypervisor.always("H_SVM_PAGE_IN", answer)
        async with asyncio.timeout(BOUND):
            with pytest.raises(Refusal, match="H_SVM_PAGE_IN to hypervisor: "):
                await vm.load(ONE)
        assert await vm_state(vm) == "ABORT"
        await ended_well(vm)
