"""A Hypervisor that is down, slow, or talks nonsense, at each hypercall that the Ultravisor makes.

Whatever it does, the guest's call ends in bounded time and says which call to which peer failed; no GFN stays
in a transient state; and the VM can be terminated and reset.
"""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from model.hostile import vm_state
from model.live import LivePair, LivePlan, live_pair
from model.live_vm import BLANK, FREE, LiveVm, live_vm, secure_vm
from model.misdeeds import impossible, unavailable
from pef_lab.between.go_between import Conduct
from pef_lab.between.misdeeds import dropped, garbage, html, late, silent, unheard
from pef_lab.failures import Refusal
from pef_protocol.codes import UCode
from pef_protocol.events import Side
from pef_protocol.quantities import PAGE_SIZE, gpa_of
from pef_protocol.ultracalls import SvmTerminate

pytestmark = pytest.mark.sockets

PEER_TIMEOUT = 0.5
BOUND = 12.0
"""Seconds in which a call must have ended, without waits for a processor: many times the timeout."""

ONE, TWO = FREE, FREE + 1
AT_ONCE: dict[str, Conduct] = {
    "dropped": dropped,
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
}
SLOW: dict[str, Conduct] = {"unheard": unheard, "late": late}
EVERY = [pytest.param(answer, id=name) for name, answer in (AT_ONCE | SLOW).items()]
SOME = [
    pytest.param((AT_ONCE | SLOW)[name], id=name)
    for name in ("dropped", "broken_json", "an_impossible_code", "unheard", "late")
]
A_FEW = [pytest.param((AT_ONCE | SLOW)[name], id=name) for name in ("dropped", "html", "late")]
HYPERCALLS_OF_ESM = range(1, 11)
"""START, tree, two bounces, RTAS area in, RTAS area shared, initrd, blob, kernel, DONE."""


@pytest.fixture(scope="module")
async def pair() -> AsyncIterator[LivePair]:
    """Start a pair that waits half a second for its peer."""
    async with live_pair(LivePlan(variables=(("PEF_PEER_TIMEOUT", str(PEER_TIMEOUT)),))) as running:
        yield running


async def ended_well(vm: LiveVm) -> None:
    """Check that nothing is left half done, and that the VM can be ended."""
    pair = vm.pair
    await pair.to_hypervisor.settled()
    pair.to_hypervisor.honest_again()
    assert await pair.broken() == []
    for side in Side:
        for slot in await pair.watch.slots(side, vm.lpid):
            assert slot.moving == 0
            assert not [run for run in slot.states if run[2].startswith("HV_")]
    code = (await pair.ultracall(SvmTerminate(vm.lpid))).code
    assert code in (UCode.U_SUCCESS, UCode.U_INVALID)
    await pair.vmm.reset(vm.lpid)
    assert await vm_state(vm) == await vm_state(vm, Side.HYPERVISOR) == "NORMAL"
    assert set((await pair.watch.pools()).values()) == {0}
    assert await pair.broken() == []


def names_call_and_peer(detail: str, name: str) -> bool:
    """Tell whether an error says which call to which peer failed."""
    return f"{name} to hypervisor: " in detail


@pytest.mark.parametrize("answer", EVERY)
async def test_first_hypercall_of_uv_esm_fails(pair: LivePair, answer: Conduct) -> None:
    async with live_vm(pair) as vm:
        await vm.load_image()
        pair.to_hypervisor.honest_again()
        pair.to_hypervisor.at(1, answer)
        async with asyncio.timeout(BOUND):
            reply = await vm.secure()
        assert reply.code is UCode.U_STATE
        assert names_call_and_peer(reply.detail, "H_SVM_INIT_START"), reply.detail
        assert pair.to_hypervisor.names[-1] == "H_SVM_INIT_ABORT"
        await ended_well(vm)


@pytest.mark.parametrize("number", HYPERCALLS_OF_ESM)
@pytest.mark.parametrize("answer", A_FEW)
async def test_a_hypercall_of_uv_esm_fails(pair: LivePair, answer: Conduct, number: int) -> None:
    async with live_vm(pair) as vm:
        await vm.load_image()
        pair.to_hypervisor.honest_again()
        pair.to_hypervisor.at(number, answer)
        async with asyncio.timeout(BOUND):
            reply = await vm.secure()
        assert reply.code is UCode.U_STATE, reply
        assert names_call_and_peer(reply.detail, pair.to_hypervisor.names[number - 1]), reply.detail
        assert "H_SVM_INIT_ABORT" in pair.to_hypervisor.names
        if await vm_state(vm) == "NORMAL":
            for gpa, content in vm.image.layout:
                assert await vm.guest.load(gpa, len(content)) == content, f"changed at {gpa:#x}"
        await ended_well(vm)


@pytest.mark.parametrize("answer", EVERY)
async def test_last_hypercall_of_uv_esm_fails(pair: LivePair, answer: Conduct) -> None:
    async with live_vm(pair) as vm:
        await vm.load_image()
        pair.to_hypervisor.honest_again()
        pair.to_hypervisor.answers("H_SVM_INIT_DONE", answer)
        async with asyncio.timeout(BOUND):
            reply = await vm.secure()
        assert reply.code is UCode.U_STATE
        assert names_call_and_peer(reply.detail, "H_SVM_INIT_DONE"), reply.detail
        await ended_well(vm)


@pytest.mark.parametrize("answer", EVERY)
async def test_the_abort_of_uv_esm_fails_too(pair: LivePair, answer: Conduct) -> None:
    async with live_vm(pair) as vm:
        await vm.load_image()
        pair.to_hypervisor.honest_again()
        pair.to_hypervisor.answers("H_SVM_PAGE_IN", dropped)
        pair.to_hypervisor.answers("H_SVM_INIT_ABORT", answer)
        async with asyncio.timeout(BOUND):
            reply = await vm.secure()
        assert reply.code is UCode.U_STATE
        assert names_call_and_peer(reply.detail, "H_SVM_PAGE_IN"), reply.detail
        await pair.to_hypervisor.settled()
        if await vm_state(vm) != "NORMAL":
            assert await vm_state(vm) == "ABORT"
            assert names_call_and_peer(reply.detail, "H_SVM_INIT_ABORT"), reply.detail
            assert (await vm.secure()).code is UCode.U_STATE
        await ended_well(vm)


@pytest.mark.parametrize("answer", SOME)
async def test_a_share_fails(pair: LivePair, answer: Conduct) -> None:
    async with secure_vm(pair) as vm:
        await vm.write(ONE)
        pair.to_hypervisor.answers("H_SVM_PAGE_IN", answer)
        async with asyncio.timeout(BOUND):
            with pytest.raises(Refusal, match="H_SVM_PAGE_IN to hypervisor: "):
                await vm.guest.share(ONE)
        await pair.to_hypervisor.settled()
        if await vm_state(vm) == "SECURE":
            await vm.reads_what_it_wrote()
        await ended_well(vm)


@pytest.mark.parametrize("answer", SOME)
async def test_an_unshare_fails(pair: LivePair, answer: Conduct) -> None:
    async with secure_vm(pair) as vm:
        await vm.write(TWO)
        await vm.guest.share(ONE)
        pair.to_hypervisor.answers("H_SVM_PAGE_IN", answer)
        async with asyncio.timeout(BOUND):
            with pytest.raises(Refusal, match="H_SVM_PAGE_IN to hypervisor: "):
                await vm.guest.unshare(ONE)
        assert await vm_state(vm) == "ABORT"
        await ended_well(vm)


@pytest.mark.parametrize("answer", SOME)
async def test_unsharing_all_fails(pair: LivePair, answer: Conduct) -> None:
    async with secure_vm(pair) as vm:
        await vm.guest.share(ONE)
        await vm.write(TWO)
        pair.to_hypervisor.answers("H_SVM_PAGE_IN", answer)
        async with asyncio.timeout(BOUND):
            with pytest.raises(Refusal, match=r"U_RETRY .*H_SVM_PAGE_IN to hypervisor: "):
                await vm.guest.unshare_all()
        await pair.to_hypervisor.settled()
        await vm.reads_what_it_wrote()
        await ended_well(vm)


@pytest.mark.parametrize("answer", [answer for answer in SOME if answer.id != "unheard"])
async def test_a_load_of_a_paged_out_page_fails_and_can_be_tried_again(
    pair: LivePair, answer: Conduct
) -> None:
    async with secure_vm(pair) as vm:
        await vm.write(ONE)
        await vm.page_out(ONE)
        pair.to_hypervisor.answers("H_SVM_PAGE_IN", answer)
        async with asyncio.timeout(BOUND):
            with pytest.raises(Refusal, match="H_SVM_PAGE_IN to hypervisor: "):
                await vm.load(ONE)
        await pair.to_hypervisor.settled()
        await vm.reads_what_it_wrote()
        assert await pair.broken() == []
        await ended_well(vm)


async def test_a_load_goes_on_where_the_page_came_and_only_the_answer_was_lost(pair: LivePair) -> None:
    async with secure_vm(pair) as vm:
        await vm.write(ONE)
        await vm.page_out(ONE)
        pair.to_hypervisor.answers("H_SVM_PAGE_IN", SLOW["unheard"])
        async with asyncio.timeout(BOUND):
            await vm.reads_what_it_wrote()
        await ended_well(vm)


@pytest.mark.parametrize("answer", A_FEW)
async def test_a_load_of_an_invalidated_page_fails_and_can_be_tried_again(
    pair: LivePair, answer: Conduct
) -> None:
    async with secure_vm(pair) as vm:
        await vm.guest.share(ONE)
        await pair.vmm.unmap(vm.lpid, gpa_of(ONE), 1)
        pair.to_hypervisor.answers("H_SVM_PAGE_IN", answer)
        async with asyncio.timeout(BOUND):
            with pytest.raises(Refusal, match="H_SVM_PAGE_IN to hypervisor: "):
                await vm.load(ONE)
        await pair.to_hypervisor.settled()
        assert await vm.load(ONE) == BLANK
        await ended_well(vm)


async def test_a_silent_hypervisor_is_waited_for_no_longer_than_the_setting(pair: LivePair) -> None:
    async with secure_vm(pair) as vm:
        await vm.write(ONE)
        await vm.page_out(ONE)
        pair.to_hypervisor.answers("H_SVM_PAGE_IN", silent)
        began = time.monotonic()
        async with asyncio.timeout(BOUND / 2):
            with pytest.raises(Refusal, match=r"no answer within 0\.5 s"):
                await vm.guest.load(gpa_of(ONE), PAGE_SIZE)
        assert time.monotonic() - began >= PEER_TIMEOUT
        await ended_well(vm)
