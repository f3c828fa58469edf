"""The life of a VM under the designs that track GFNs, step by step; the ten joint invariants after each."""

from collections.abc import AsyncIterator

import pytest

from harness.hostile import refused_load
from harness.live import LivePair, live_pair
from harness.live_vm import BLANK, FREE, LiveVm, flipped, live_vm
from harness.scenario import Scenario
from pef_lab.between.fault_injections import claim
from pef_lab.failures import Refusal
from pef_lab.guest import World
from pef_protocol.codes import HCode, UCode
from pef_protocol.designs import Design
from pef_protocol.quantities import PAGE_SIZE, gpa_of

pytestmark = pytest.mark.sockets

PLUGGED = 1 << 28
NEW = PLUGGED // PAGE_SIZE
DESIGNS = [Design.TRACKED, Design.TRACKED_PAGEIN]


@pytest.fixture(scope="module")
async def pair() -> AsyncIterator[LivePair]:
    """Start a pair."""
    async with live_pair() as running:
        yield running


@pytest.fixture(params=DESIGNS)
async def vm(pair: LivePair, request: pytest.FixtureRequest) -> AsyncIterator[LiveVm]:
    """Create a normal VM."""
    async with live_vm(pair, request.param) as normal:
        yield normal


async def boots(scenario: Scenario) -> None:
    """Given a VM that has become secure and has written a few private pages."""
    vm = scenario.vm
    async with scenario.when("the host loads the image, and the guest writes"):
        await vm.load_image()
        await vm.guest.store(gpa_of(FREE + 50), b"before UV_ESM" * 1000)
    async with scenario.when("the VM becomes secure"):
        assert (await vm.secure()).code is UCode.U_SUCCESS
    for gfn in range(FREE, FREE + 6):
        async with scenario.when(f"the guest writes page {gfn:#x}"):
            await vm.write(gfn)
    await vm.image_is_whole()


async def reboots(scenario: Scenario) -> None:
    """When the VM is reset."""
    vm = scenario.vm
    async with scenario.when("the VM is reset"):
        await vm.pair.vmm.reset(vm.lpid)
        vm.guest.rebooted()
        vm.wrote.clear()


async def test_pages_out_and_in(vm: LiveVm) -> None:
    """Given a secure VM.

    When the host reads pages, and writes on one that is out,
    then the guest reads what it wrote, but for the page that was spoiled, which is refused.
    """
    scenario = await Scenario.begin(vm)
    await boots(scenario)
    for turn in range(3):
        async with scenario.when(f"the host reads a page and a neighbour, turn {turn}"):
            await vm.page_out(FREE)
            await vm.page_out(FREE + 1)
        async with scenario.when("the guest reads one of them"):
            assert await vm.load(FREE) == vm.wrote[FREE]
        async with scenario.when("the guest overwrites the other"):
            await vm.write(FREE + 1)
    async with scenario.when("the host writes on a page that is out"):
        await vm.page_out(FREE + 2)
        await vm.pair.vmm.write(vm.lpid, gpa_of(FREE + 2), b"spoiled")
    async with scenario.when("the guest reads it", refused="H_SVM_PAGE_IN"):
        await vm.load(FREE + 2)
    del vm.wrote[FREE + 2]
    await vm.reads_what_it_wrote()


async def test_shares_unmaps_and_unshares(vm: LiveVm) -> None:
    """Given a secure VM.

    When it shares and unshares pages, and the host unmaps, answers and refuses,
    then each side reads what the other wrote, and unshared pages are zero.
    """
    scenario = await Scenario.begin(vm)
    await boots(scenario)
    vmm = vm.pair.vmm
    async with scenario.when("the guest shares two pages, one of which is paged out"):
        await vm.page_out(FREE)
        await vm.guest.share(FREE, 2)
        vm.wrote |= {FREE: BLANK, FREE + 1: BLANK}
    async with scenario.when("the guest writes for the host"):
        await vm.write(FREE)
    assert await vm.host_read(FREE) == vm.wrote[FREE]
    async with scenario.when("the host unmaps it"):
        await vmm.unmap(vm.lpid, gpa_of(FREE), 1)
    async with scenario.when("the guest reads it"):
        assert await vm.load(FREE) == vm.wrote[FREE]
    async with scenario.when("the host answers in the other page"):
        answer = b"the host's answer".ljust(PAGE_SIZE, b".")
        await vmm.write(vm.lpid, gpa_of(FREE + 1), answer)
        vm.wrote[FREE + 1] = answer
    async with scenario.when("the guest unshares it after it was unmapped"):
        await vmm.unmap(vm.lpid, gpa_of(FREE + 1), 1)
        await vm.guest.unshare(FREE + 1)
        vm.wrote[FREE + 1] = BLANK
    async with scenario.when("the guest shares it again"):
        await vm.guest.share(FREE + 1)
    async with scenario.when("the Hypervisor refuses a share", refused="U_P2"):
        vm.pair.to_hypervisor.answers("H_SVM_PAGE_IN", claim(HCode.H_PARAMETER))
        await vm.guest.share(FREE + 3)
    async with scenario.when("the guest unshares all"):
        await vm.guest.unshare_all()
        vm.wrote |= {FREE: BLANK, FREE + 1: BLANK}
    await vm.reads_what_it_wrote()


async def test_memory_is_plugged_and_unplugged(vm: LiveVm) -> None:
    """Given a secure VM.

    When slots are plugged and unplugged, also twice,
    then new memory is zero, what is gone is refused, and the rest keeps its bytes.
    """
    scenario = await Scenario.begin(vm)
    await boots(scenario)
    vmm = vm.pair.vmm
    async with scenario.when("a slot is plugged in"):
        await vmm.plug(vm.lpid, 1, PLUGGED, 8 * PAGE_SIZE)
        vm.wrote |= {NEW: BLANK, NEW + 7: BLANK}
    async with scenario.when("the guest writes there"):
        await vm.write(NEW)
        await vm.write(NEW + 1)
    async with scenario.when("the same slot is plugged in again", refused="EEXIST"):
        await vmm.plug(vm.lpid, 1, PLUGGED, 8 * PAGE_SIZE)
    async with scenario.when("the host reads there, and a page is shared"):
        await vm.page_out(NEW)
        await vm.guest.share(NEW + 2)
    async with scenario.when("the guest writes to the shared page"):
        await vm.write(NEW + 2)
    async with scenario.when("the slot is unplugged"):
        await vmm.unplug(vm.lpid, 1)
        vm.wrote = {gfn: page for gfn, page in vm.wrote.items() if gfn < NEW}
    assert await refused_load(vm, NEW) == "no slot"
    async with scenario.when("a slot that isn't there is unplugged", refused="ENOENT"):
        await vmm.unplug(vm.lpid, 1)
    async with scenario.when("another slot takes its place"):
        await vmm.plug(vm.lpid, 2, PLUGGED, 4 * PAGE_SIZE)
        vm.wrote |= {NEW + page: BLANK for page in range(4)}
    await vm.reads_what_it_wrote()


async def test_reboots_and_becomes_secure_again(vm: LiveVm) -> None:
    """Given a secure VM with pages that are out, shared and invalidated.

    When it is reset and boots again,
    then all pages that it wrote read zero, and it becomes secure again.
    """
    scenario = await Scenario.begin(vm)
    await boots(scenario)
    async with scenario.when("pages are out, shared and invalidated"):
        await vm.page_out(FREE)
        await vm.guest.share(FREE + 1, 2)
        vm.wrote |= {FREE + 1: BLANK, FREE + 2: BLANK}
        await vm.pair.vmm.unmap(vm.lpid, gpa_of(FREE + 2), 1)
    await reboots(scenario)
    for gfn in range(FREE, FREE + 6):
        assert await vm.load(gfn) == BLANK
    await boots(scenario)
    await vm.reads_what_it_wrote()
    await reboots(scenario)
    async with scenario.when("a reset of a normal VM"):
        await vm.pair.vmm.reset(vm.lpid)
    async with scenario.when("the VM is destroyed"):
        await vm.pair.vmm.destroy(vm.lpid)
        assert vm.guest.world is World.NORMAL


async def test_is_destroyed_while_secure(vm: LiveVm) -> None:
    """Given a secure VM, when it is destroyed, then nothing of it is left on either side."""
    scenario = await Scenario.begin(vm)
    await boots(scenario)
    async with scenario.when("the VM is destroyed"):
        await vm.pair.vmm.destroy(vm.lpid)
        vm.guest.rebooted()
        vm.wrote.clear()


@pytest.mark.parametrize("design", DESIGNS)
async def test_an_esm_that_fails_and_one_that_does_not(pair: LivePair, design: Design) -> None:
    """Given a VM whose kernel was tampered with.

    When UV_ESM fails, and the host loads the right kernel,
    then the same VM becomes secure.
    """
    async with live_vm(pair, design, change=lambda image: flipped(image, "kernel", 77)) as vm:
        scenario = await Scenario.begin(vm)
        async with scenario.when("the host loads a kernel that was tampered with"):
            await vm.load_image()
        async with scenario.when("UV_ESM fails"):
            assert (await vm.secure()).code is UCode.U_PERMISSION
        async with scenario.when("the host loads the kernel as it should be"):
            vm.image = flipped(vm.image, "kernel", 77)
            await vm.load_image()
        await boots(scenario)
        await vm.reads_what_it_wrote()


@pytest.mark.parametrize("design", DESIGNS)
async def test_an_aborted_svm(pair: LivePair, design: Design) -> None:
    """Given a secure VM.

    When the Hypervisor claims a share that it did not make,
    then the SVM is aborted, and after a reset the VM becomes secure again.
    """
    async with live_vm(pair, design) as vm:
        scenario = await Scenario.begin(vm)
        await boots(scenario)
        pair.to_hypervisor.answers("H_SVM_PAGE_IN", claim(HCode.H_SUCCESS))
        async with scenario.when("the Hypervisor claims a share that it did not make"):
            with pytest.raises(Refusal, match="U_P2"):
                await vm.guest.share(FREE)
        assert scenario.now.vm.ultravisor == "ABORT"
        await reboots(scenario)
        await boots(scenario)
