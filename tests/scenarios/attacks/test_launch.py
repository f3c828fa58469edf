"""Attacks on a VM while it becomes secure, and on the room it needs: attacks 34 to 37 and 41."""

import pytest

from harness.hostile import foiled, hv_state, nothing_leaked, uv_state, vm_state
from harness.live import MIB, LivePair, LivePlan, live_pair
from harness.live_vm import BLANK, FREE, LiveVm, flipped, live_vm, secure_vm
from pef_lab.between.fault_injections import after, before
from pef_lab.between.passing import Passing
from pef_lab.hostile.requests import page_in, page_out
from pef_protocol.calls import Reply
from pef_protocol.codes import HCode, UCode
from pef_protocol.designs import Design
from pef_protocol.events import Side
from pef_protocol.hypercalls import SvmInitAbort, SvmInitDone, SvmInitStart, SvmPageIn, SvmPageOut
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, Lpid, gfn_of, gpa_of
from pef_protocol.runs import PageRuns

pytestmark = pytest.mark.sockets

ONE, TWO = FREE, FREE + 1


async def is_normal_again(vm: LiveVm) -> None:
    """Check that a VM whose UV_ESM failed goes on as a normal one, its memory as it was."""
    pair = vm.pair
    assert await vm_state(vm) == await vm_state(vm, Side.HYPERVISOR) == "NORMAL"
    for gpa, content in vm.image.layout:
        assert await vm.guest.load(gpa, len(content)) == content, f"changed at {gpa:#x}"
    assert set((await pair.watch.pools()).values()) == {0}
    assert await pair.broken() == []


@pytest.mark.parametrize(
    ("part", "at"),
    [("kernel", 0), ("kernel", -1), ("initrd", 70000), ("rtas", 100), ("esm_blob", -1), ("esm_blob", -900)],
)
async def test_34_tampered_image(pair: LivePair, part: str, at: int) -> None:
    """Given a VM whose image has one part changed.

    When the guest calls UV_ESM,
    then it is refused with U_PERMISSION, the VM is normal again, and its memory is as it was.
    """
    async with live_vm(pair, change=lambda image: flipped(image, part, at)) as vm:
        await vm.load_image()
        await vm.guest.store(gpa_of(ONE), b"the guest's own")
        reply = await vm.secure()
        assert reply.code is UCode.U_PERMISSION, reply
        assert pair.to_hypervisor.names[-1] == "H_SVM_INIT_ABORT"
        assert "H_SVM_INIT_DONE" not in pair.to_hypervisor.names
        assert await vm.guest.load(gpa_of(ONE), 16) == b"the guest's own\0"
        await is_normal_again(vm)
    pair.to_hypervisor.honest_again()


async def test_34_image_tampered_with_on_its_way(pair: LivePair) -> None:
    """Given a VM with a sound image.

    When the Hypervisor changes a byte of the kernel before UV_PAGE_IN takes it,
    then UV_ESM is refused because of the kernel, and the VM is normal again.
    """
    async with live_vm(pair) as vm:

        async def tamper(passing: Passing) -> None:
            for ra, gpa, count in passing.form["runs"]:
                if gpa <= vm.image.kernel_base < gpa + count * PAGE_SIZE:
                    pair.poke(ra + vm.image.kernel_base - gpa, b"\xff")

        await vm.load_image()
        pair.to_ultravisor.always("UV_PAGE_IN", before(tamper))
        reply = await vm.secure()
        pair.to_ultravisor.honest_again()
        assert reply.code is UCode.U_PERMISSION
        assert "kernel" in reply.detail
        assert (await vm.guest.load(vm.image.kernel_base, 1)) == b"\xff"
        assert await vm_state(vm) == "NORMAL"


@pytest.mark.parametrize("design", [Design.TRACKED, Design.TRACKED_PAGEIN, Design.PUSHED, Design.EAGER])
async def test_35_page_replaced_after_measurement(pair: LivePair, design: Design) -> None:
    """Given a VM in UV_ESM whose image was measured.

    When the Hypervisor offers other pages for the measured ones before it answers H_SVM_INIT_DONE,
    then each is refused with U_P2 and changes nothing, and the guest finds its whole image.
    """
    async with live_vm(pair, design) as vm:
        measured = sorted(
            gfn_of(gpa) + page
            for gpa, content in vm.image.layout
            if gpa != vm.image.rtas_address
            for page in range(-(-len(content) // PAGE_SIZE))
        )
        pair.poke(pair.spare(), b"evil" * (PAGE_SIZE // 4))
        replies: list[Reply] = []

        async def replace(_: Passing) -> None:
            before_all = await pair.digests()
            replies.extend([await pair.ultracall(page_in(vm.lpid, gfn, pair.spare())) for gfn in measured])
            assert await pair.digests() == before_all

        pair.to_hypervisor.answers("H_SVM_INIT_DONE", before(replace))
        await vm.boot()
        assert {reply.code for reply in replies} == {UCode.U_P2}
        assert len(replies) == len(measured) > 6
        await vm.image_is_whole()


async def test_35_paged_out_page_replaced_before_commit(pair: LivePair) -> None:
    """Given a VM in UV_ESM whose kernel is paged out after it was measured.

    When the Hypervisor gives back the page of the image in clear,
    then that is refused with U_P3, the sealed page is taken, and the guest finds its whole image.
    """
    async with live_vm(pair) as vm:
        kernel = gfn_of(vm.image.kernel_base)

        async def swap_it(_: Passing) -> None:
            assert (await pair.ultracall(page_out(vm.lpid, kernel, pair.spare()))).code is UCode.U_SUCCESS
            pair.poke(pair.spare(1), vm.image.kernel[:PAGE_SIZE])
            reply = await pair.ultracall(page_in(vm.lpid, kernel, pair.spare(1)))
            assert reply.code is UCode.U_P3
            assert (await pair.ultracall(page_in(vm.lpid, kernel, pair.spare()))).code is UCode.U_SUCCESS

        pair.to_hypervisor.answers("H_SVM_INIT_DONE", before(swap_it))
        await vm.boot()
        await vm.image_is_whole()


async def test_36_bytes_implanted_outside_the_image(pair: LivePair) -> None:
    """Given a VM whose host wrote into a page outside the image.

    When the Hypervisor also brings bytes for another such page, during UV_ESM and after it,
    then each is refused with U_P2, and the guest reads zeroes in both.
    """
    async with live_vm(pair) as vm:
        await pair.vmm.write(vm.lpid, gpa_of(ONE), b"implanted before UV_ESM" * 1000)
        replies: list[Reply] = []

        async def implant(passing: Passing) -> None:
            pair.poke(pair.spare(), b"implanted during UV_ESM" * 1000)
            assert passing.name in {"H_SVM_INIT_START", "H_SVM_PAGE_IN"}
            replies.append(await pair.ultracall(page_in(vm.lpid, TWO, pair.spare())))

        pair.to_hypervisor.always("H_SVM_PAGE_IN", before(implant))
        pair.to_hypervisor.always("H_SVM_INIT_START", after(implant))
        await vm.boot()
        pair.to_hypervisor.honest_again()
        assert {reply.code for reply in replies} == {UCode.U_P2}
        await foiled(pair, page_in(vm.lpid, TWO, pair.spare()), UCode.U_P2)
        assert await vm.load(ONE) == await vm.load(TWO) == BLANK


async def test_37_life_cycle_out_of_order(pair: LivePair, vm: LiveVm) -> None:
    """Given a secure VM, a normal one, and a number that no VM has.

    When the hypercalls of the life cycle are made out of order,
    then each is refused with the code of its check, and neither side changes.
    """
    await vm.write(ONE)
    before_all = await pair.digests()

    async def answered(request: object, code: HCode) -> None:
        assert (await pair.hypercall(request)).code is code, request

    await answered(SvmInitStart(vm.lpid), HCode.H_STATE)
    await answered(SvmInitDone(vm.lpid), HCode.H_STATE)
    await answered(SvmInitAbort(vm.lpid), HCode.H_STATE)
    async with live_vm(pair) as normal:
        between = await pair.digests()
        await answered(SvmInitDone(normal.lpid), HCode.H_UNSUPPORTED)
        await answered(SvmInitAbort(normal.lpid), HCode.H_UNSUPPORTED)
        runs = PageRuns.of((0, 1))
        await answered(SvmPageIn(normal.lpid, runs, 0, PAGE_ORDER), HCode.H_UNSUPPORTED)
        await answered(SvmPageOut(normal.lpid, runs, 0, PAGE_ORDER), HCode.H_UNSUPPORTED)
        assert await pair.digests() == between
    await answered(SvmInitStart(Lpid(4000)), HCode.H_PARAMETER)
    for stranger in (SvmInitDone(Lpid(4000)), SvmInitAbort(Lpid(4000))):
        await answered(stranger, HCode.H_UNSUPPORTED)
    assert await pair.digests() == before_all
    await vm.reads_what_it_wrote()


async def test_37_start_twice_while_transient(pair: LivePair) -> None:
    """Given a VM in UV_ESM.

    When H_SVM_INIT_START is called again,
    then it is refused with H_STATE and changes nothing, and the VM becomes secure.
    """
    async with live_vm(pair) as vm:

        async def start_again(_: Passing) -> None:
            before_all = await pair.digests()
            assert (await pair.hypercall(SvmInitStart(vm.lpid))).code is HCode.H_STATE
            assert await pair.digests() == before_all

        pair.to_hypervisor.answers("H_SVM_PAGE_IN", before(start_again))
        await vm.boot()
        await vm.image_is_whole()


async def test_38_page_out_of_an_aborted_svm(pair: LivePair) -> None:
    """Given a VM whose UV_ESM failed and whose H_SVM_INIT_ABORT is on its way.

    When the Hypervisor pages out a page that it gave and one that it did not, and brings one in,
    then only the page that it gave comes, in clear, and the VM is normal again.
    """
    async with live_vm(pair, change=lambda image: flipped(image, "kernel", 5)) as vm:
        kernel = gfn_of(vm.image.kernel_base)
        await vm.load_image()
        codes: list[UCode] = []

        async def page_them_out(_: Passing) -> None:
            assert await vm_state(vm) == "ABORT"
            for gfn in (kernel, ONE):
                reply = await pair.ultracall(page_out(vm.lpid, gfn, pair.spare(gfn)))
                codes.append(UCode(reply.code))
            codes.append(UCode((await pair.ultracall(page_in(vm.lpid, ONE, pair.spare(ONE)))).code))

        pair.to_hypervisor.answers("H_SVM_INIT_ABORT", before(page_them_out))
        assert (await vm.secure()).code is UCode.U_PERMISSION
        assert codes == [UCode.U_SUCCESS, UCode.U_STATE, UCode.U_STATE]
        assert pair.peek(pair.spare(kernel)) == vm.image.kernel[:PAGE_SIZE]
        await is_normal_again(vm)


async def test_41_secure_memory_is_exhausted() -> None:
    """Given a secure VM, and too little secure memory for a larger one.

    When a larger VM calls UV_ESM,
    then that is told U_RETRY and is a normal VM again, and the first one keeps its pages.
    """
    plan = LivePlan(secure_memory=32 * MIB)
    async with live_pair(plan) as pair, secure_vm(pair) as first:
        for gfn in range(FREE, FREE + 20):
            await first.write(gfn)
        used = await pair.watch.pools()
        async with live_vm(pair, memory=64 * MIB) as second:
            await second.load_image()
            reply = await second.secure()
            assert reply.code is UCode.U_RETRY, reply
            assert pair.to_hypervisor.names[-1] == "H_SVM_INIT_ABORT"
            assert await vm_state(second) == await vm_state(second, Side.HYPERVISOR) == "NORMAL"
            for gpa, content in second.image.layout:
                assert await second.guest.load(gpa, len(content)) == content
            assert await pair.watch.pools() == used
            await first.reads_what_it_wrote()
            await first.image_is_whole()
            assert await uv_state(first, FREE) == await hv_state(first, FREE) == "SECURE"
        nothing_leaked(first)
        assert await pair.broken() == []
