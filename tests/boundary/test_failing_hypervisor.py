"""A Hypervisor that drops a hypercall, is late with it or talks nonsense, at each one of a guest's calls.

What is lost once is asked for again and acts once; what never has an outcome is given up, and then the SVM is
aborted; a refusal of the message is an answer. Nothing of it leaves a GFN in a transient state, and the VM
can be terminated and reset. Rules 7 and 9 of ARCHITECTURE.md, "Identity and time".
"""

import asyncio
from collections.abc import AsyncIterator

import pytest

from harness.fault_injections import impossible, unavailable
from harness.hostile import vm_state
from harness.live import LivePair, LivePlan, live_pair
from harness.live_vm import BLANK, FREE, LiveVm, live_vm, secure_vm
from harness.once import done_once
from pef_lab.between.fault_injections import dropped, forgotten, garbage, html, late, refused, unanswered
from pef_lab.between.go_between import Conduct
from pef_lab.failures import Refusal
from pef_protocol.codes import UCode
from pef_protocol.events import Side
from pef_protocol.problems import ProblemType
from pef_protocol.quantities import gpa_of
from pef_protocol.ultracalls import SvmTerminate

pytestmark = pytest.mark.sockets

PEER_TIMEOUT = 0.5
"""Seconds of one attempt: `late` and `unanswered` last as long."""

ONE, TWO = FREE, FREE + 1
NO_OUTCOME: dict[str, Conduct] = {
    "dropped": dropped,
    "forgotten": forgotten,
    "html": html,
    "http_503": unavailable,
    "broken_json": garbage(b'{"code":'),
    "an_array": garbage(b"[]"),
    "half_an_answer": garbage(b'{"code":{"name":"H_SUCCESS"}}'),
    "a_wrong_number": garbage(
        b'{"code":{"name":"H_SUCCESS","number":7},"outputs":{},"refused":[],"detail":""}'
    ),
    "odd_runs": garbage(b'{"code":{"name":"H_SUCCESS","number":0},"outputs":{},"refused":[[1]],"detail":""}'),
    "an_impossible_code": impossible,
    "another_epoch": refused(ProblemType.OTHER_EPOCH, 409),
    "not_now": refused(ProblemType.NOT_NOW, 503),
    "unanswered": unanswered,
    "late": late,
}
EVERY = [pytest.param(answer, id=name) for name, answer in NO_OUTCOME.items()]
A_FEW = [pytest.param(NO_OUTCOME[name], id=name) for name in ("dropped", "forgotten", "late")]
HYPERCALLS_OF_ESM = range(1, 11)
"""START, tree, two bounces, RTAS area in, RTAS area shared, initrd, blob, kernel, DONE."""


@pytest.fixture(scope="module")
async def pair() -> AsyncIterator[LivePair]:
    """Start a pair that waits half a second for an answer before it asks again."""
    async with live_pair(LivePlan(variables=(("PEF_PEER_TIMEOUT", str(PEER_TIMEOUT)),))) as running:
        yield running


async def ended_well(vm: LiveVm) -> None:
    """Check that nothing is left half done, that no call acted twice, and that the VM can be ended."""
    pair = vm.pair
    await pair.to_hypervisor.settled()
    pair.to_hypervisor.honest_again()
    assert await pair.broken() == []
    for side in Side:
        for slot in await pair.watch.slots(side, vm.lpid):
            assert slot.moving == 0
            assert not [run for run in slot.states if run[2].startswith("HV_")]
    await done_once(pair.watch)
    code = (await pair.ultracall(SvmTerminate(vm.lpid))).code
    assert code in (UCode.U_SUCCESS, UCode.U_INVALID)
    await pair.vmm.reset(vm.lpid)
    assert await vm_state(vm) == await vm_state(vm, Side.HYPERVISOR) == "NORMAL"
    assert set((await pair.watch.pools()).values()) == {0}
    assert await pair.broken() == []


@pytest.mark.parametrize("answer", EVERY)
async def test_a_hypercall_that_has_no_outcome_is_made_again(pair: LivePair, answer: Conduct) -> None:
    """Given a VM whose first and last hypercall of UV_ESM have no outcome at first.

    When the guest calls UV_ESM,
    then both are made again, the VM becomes secure, and no call acted twice.
    """
    async with live_vm(pair) as vm:
        await vm.load_image()
        for name in ("H_SVM_INIT_START", "H_SVM_INIT_DONE"):
            pair.to_hypervisor.answers(name, answer)
        assert (await vm.secure()).code is UCode.U_SUCCESS
        await vm.image_is_whole()
        await ended_well(vm)


@pytest.mark.parametrize("number", HYPERCALLS_OF_ESM)
@pytest.mark.parametrize("answer", A_FEW)
async def test_each_hypercall_of_uv_esm_may_be_lost(pair: LivePair, answer: Conduct, number: int) -> None:
    """Given a VM of whose UV_ESM one hypercall is lost.

    When the guest calls UV_ESM,
    then that one is made again, the VM becomes secure, and no call acted twice.
    """
    async with live_vm(pair) as vm:
        await vm.load_image()
        pair.to_hypervisor.honest_again()
        pair.to_hypervisor.at(number, answer)
        assert (await vm.secure()).code is UCode.U_SUCCESS
        assert len(pair.to_hypervisor.names) == len(HYPERCALLS_OF_ESM) + 1
        await vm.image_is_whole()
        await ended_well(vm)


@pytest.mark.parametrize("answer", A_FEW)
async def test_the_hypercalls_of_a_secure_vm_may_be_lost(pair: LivePair, answer: Conduct) -> None:
    """Given a secure VM whose hypercalls are lost now and then.

    When the guest shares, loads and unshares,
    then each is made again, gives what it should, and acts once.
    """
    async with secure_vm(pair) as vm:
        for gfn in (ONE, TWO):
            await vm.write(gfn)
        pair.to_hypervisor.answers("H_SVM_PAGE_IN", answer)
        await vm.guest.share(ONE)
        vm.wrote.pop(ONE)
        assert await vm.load(ONE) == BLANK
        await pair.vmm.unmap(vm.lpid, gpa_of(ONE), 1)
        pair.to_hypervisor.answers("H_SVM_PAGE_IN", answer)
        assert await vm.load(ONE) == BLANK
        pair.to_hypervisor.answers("H_SVM_PAGE_IN", answer)
        await vm.guest.unshare(ONE)
        await vm.guest.share(ONE)
        pair.to_hypervisor.answers("H_SVM_PAGE_IN", answer)
        await vm.guest.unshare_all()
        assert await vm.load(ONE) == BLANK
        await vm.page_out(TWO)
        pair.to_hypervisor.answers("H_SVM_PAGE_IN", answer)
        await vm.reads_what_it_wrote()
        assert await vm_state(vm) == "SECURE"
        await ended_well(vm)


@pytest.mark.parametrize(("kind", "status"), [(ProblemType.OTHER, 422), (ProblemType.LATE, 409)])
async def test_a_refusal_of_the_message_changes_nothing(
    pair: LivePair, kind: ProblemType, status: int
) -> None:
    """The Hypervisor says that it did nothing, and never will: the guest reads so, and keeps what it has."""
    async with secure_vm(pair) as vm:
        await vm.write(ONE)
        pair.to_hypervisor.answers("H_SVM_PAGE_IN", refused(kind, status))
        with pytest.raises(Refusal, match="H_SVM_PAGE_IN to hypervisor: "):
            await vm.guest.share(ONE)
        assert await vm_state(vm) == "SECURE"
        await vm.reads_what_it_wrote()
        await vm.guest.share(ONE)
        await ended_well(vm)


async def test_what_one_guest_waits_for_keeps_no_other_waiting(pair: LivePair) -> None:
    """Given a guest whose share waits for answers that are lost.

    When another guest stores and loads,
    then it is served meanwhile, and in the end the share is done.
    """
    async with secure_vm(pair) as vm, secure_vm(pair) as other:
        await vm.write(ONE)
        pair.to_hypervisor.answers("H_SVM_PAGE_IN", *[dropped] * 5)
        share = asyncio.create_task(vm.guest.share(ONE))
        await other.write(TWO)
        await other.reads_what_it_wrote()
        await share
        assert await vm.load(ONE) == BLANK
        await pair.vmm.reset(other.lpid)
        await ended_well(vm)
