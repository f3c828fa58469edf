"""What a Hypervisor may try with shared pages, and with pages on their way: attacks 14 to 20 and 33."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from harness.hostile import hv_state, nothing_leaked, refused_load, uv_state, vm_state
from harness.live import LivePair
from harness.live_vm import BLANK, FREE, LiveVm, live_vm
from pef_lab.between.fault_injections import after, before, claim, in_part, instead
from pef_lab.between.passing import Passing
from pef_lab.failures import Refusal
from pef_lab.hostile.requests import inval, page_in, page_out
from pef_protocol.codes import HCode, UCode
from pef_protocol.events import Side
from pef_protocol.quantities import PAGE_SIZE, gpa_of

pytestmark = pytest.mark.sockets

ONE, TWO, THREE = FREE, FREE + 1, FREE + 2


async def test_14_stale_translation_after_invalidation(pair: LivePair, vm: LiveVm) -> None:
    """Given a shared page that the guest has read.

    When the Hypervisor invalidates the page and writes to it,
    then the guest's next load asks for the page again and reads the new bytes.
    """
    await vm.guest.share(ONE)
    old = await vm.write(ONE)
    assert await vm.load(ONE) == old
    assert (await pair.ultracall(inval(vm.lpid, ONE))).code is UCode.U_SUCCESS
    assert await uv_state(vm, ONE) == "SHARED_INV"
    pair.poke(vm.ra(ONE), b"new".ljust(PAGE_SIZE, b"\0"))
    asked = pair.to_hypervisor.names.count("H_SVM_PAGE_IN")
    assert await vm.load(ONE) == b"new".ljust(PAGE_SIZE, b"\0")
    assert pair.to_hypervisor.names.count("H_SVM_PAGE_IN") == asked + 1
    assert await uv_state(vm, ONE) == "SHARED"


async def test_14_stale_translation_of_a_page_brought_back_elsewhere(pair: LivePair, vm: LiveVm) -> None:
    """Given a shared page that was invalidated.

    When the Hypervisor brings it at another real address,
    then the guest loads and stores there, and no longer at the old address.
    """
    await vm.guest.share(ONE)
    await vm.write(ONE)
    assert (await pair.ultracall(inval(vm.lpid, ONE))).code is UCode.U_SUCCESS
    elsewhere = pair.spare()
    pair.poke(elsewhere, b"elsewhere".ljust(PAGE_SIZE, b"\0"))
    assert (await pair.ultracall(page_in(vm.lpid, ONE, elsewhere))).code is UCode.U_SUCCESS
    assert await vm.load(ONE) == b"elsewhere".ljust(PAGE_SIZE, b"\0")
    stored = vm.flock.page("where the page is now")
    await vm.guest.store(gpa_of(ONE), stored)
    assert pair.peek(elsewhere) == stored != pair.peek(vm.ra(ONE))


async def test_14_stale_translation_after_page_out(pair: LivePair, vm: LiveVm) -> None:
    """Given a secure page that was paged out.

    When the Hypervisor puts zeroes in the place of its ciphertext,
    then the guest's load is refused, and resolves once the ciphertext is back.
    """
    page = await vm.write(ONE)
    assert await vm.load(ONE) == page
    sealed = await vm.page_out(ONE)
    pair.poke(vm.ra(ONE), BLANK)
    assert "H_SVM_PAGE_IN" in await refused_load(vm, ONE)
    pair.poke(vm.ra(ONE), sealed)
    assert await vm.load(ONE) == page
    assert await uv_state(vm, ONE) == "SECURE"


async def test_15_image_changed_under_the_reader(pair: LivePair) -> None:
    """Given a Hypervisor that overwrites each normal page once UV_PAGE_IN has taken it.

    When a VM becomes secure,
    then the guest finds its whole image.
    """
    async with live_vm(pair) as vm:

        async def change(passing: Passing) -> None:
            for ra, _, count in passing.form["runs"]:
                pair.poke(ra, b"\xff" * PAGE_SIZE * count)

        pair.to_ultravisor.always("UV_PAGE_IN", after(change))
        await vm.boot()
        pair.to_ultravisor.honest_again()
        await vm.image_is_whole()


async def test_15_ciphertext_changed_under_the_reader(pair: LivePair, vm: LiveVm) -> None:
    """Given a paged-out page whose ciphertext the Hypervisor spoils and mends without a pause.

    When the guest loads the page, again and again,
    then each load gives what the guest wrote or is refused, and none gives other bytes.
    """
    page = await vm.write(ONE)
    stop = Event()
    with ThreadPoolExecutor(1) as threads:
        try:
            for _ in range(20):
                sealed = await vm.page_out(ONE) if await hv_state(vm, ONE) == "SECURE" else b""
                stop.clear()
                flipping = asyncio.get_running_loop().run_in_executor(
                    threads, _flip, pair, vm.ra(ONE), sealed, stop
                )
                loaded = (await asyncio.gather(vm.load(ONE), return_exceptions=True))[0]
                stop.set()
                await flipping
                assert loaded == page or isinstance(loaded, Refusal)
                if await uv_state(vm, ONE) == "PAGEDOUT":
                    pair.poke(vm.ra(ONE), sealed)
                    assert await vm.load(ONE) == page
        finally:
            stop.set()


def _flip(pair: LivePair, ra: int, sealed: bytes, stop: Event) -> None:
    """Write a page that is genuine, and one that isn't, in turns."""
    forged = sealed[:-1] + bytes([sealed[-1] ^ 1])
    while not stop.is_set():
        pair.poke(ra, forged)
        pair.poke(ra, sealed)


async def test_16_stale_secrets_at_share(pair: LivePair, vm: LiveVm) -> None:
    """Given two secure pages, one of which is paged out.

    When the guest shares both,
    then the Hypervisor finds no secret where it offered them, and guest and host read zeroes.
    """
    for gfn in (ONE, TWO):
        await vm.write(gfn)
    await vm.page_out(TWO)
    seen: list[bytes] = []

    async def observe(passing: Passing) -> None:
        if passing.form["flags"]:
            seen.extend(pair.peek(vm.ra(gfn)) for gfn in (ONE, TWO))

    pair.to_hypervisor.always("H_SVM_PAGE_IN", after(observe))
    await vm.guest.share(ONE, 2)
    assert vm.flock.in_all(("the page when it was offered", page) for page in seen) == set()
    for gfn in (ONE, TWO):
        assert await vm.host_read(gfn) == await vm.load(gfn) == BLANK
    nothing_leaked(vm)


async def test_16_stale_secrets_at_a_second_share(vm: LiveVm) -> None:
    """Given a shared page with a message, when the guest shares it again, then guest and host read zeroes."""
    await vm.guest.share(ONE)
    await vm.guest.store(gpa_of(ONE), b"a message".ljust(PAGE_SIZE, b"."))
    await vm.guest.share(ONE)
    assert await vm.host_read(ONE) == await vm.load(ONE) == BLANK


async def test_17_implant_at_unshare(pair: LivePair, vm: LiveVm) -> None:
    """Given two shared pages.

    When the guest unshares them, and the Hypervisor writes to them meanwhile,
    then both are secure, and the guest reads zeroes.
    """
    await vm.guest.share(ONE, 2)
    await pair.vmm.write(vm.lpid, gpa_of(ONE), b"implanted" * 100)

    async def implant(_: Passing) -> None:
        pair.poke(vm.ra(ONE), b"implanted" * 100)
        pair.poke(vm.ra(TWO), b"implanted" * 100)

    pair.to_hypervisor.answers("H_SVM_PAGE_IN", before(implant))
    pair.to_ultravisor.always("UV_PAGE_IN", before(implant))
    await vm.guest.unshare(ONE, 2)
    assert await vm.load(ONE) == await vm.load(TWO) == BLANK
    assert await uv_state(vm, ONE) == await hv_state(vm, ONE) == "SECURE"


async def test_18_share_reported_without_a_page_offered(pair: LivePair, vm: LiveVm) -> None:
    """Given an SVM with two secure pages.

    When the guest shares one, and the Hypervisor claims success without a page,
    then the SVM is aborted, its loads are refused, and nothing leaked.
    """
    await vm.write(ONE)
    await vm.write(TWO)
    pair.to_hypervisor.answers("H_SVM_PAGE_IN", claim(HCode.H_SUCCESS))
    with pytest.raises(Refusal, match="offered none: the SVM is aborted"):
        await vm.guest.share(ONE)
    assert await vm_state(vm) == "ABORT"
    assert await uv_state(vm, ONE) == "SECURE"
    assert await refused_load(vm, ONE) == await refused_load(vm, TWO) == "aborted"
    nothing_leaked(vm)


@pytest.mark.parametrize("code", [HCode.H_PARAMETER, HCode.H_UNSUPPORTED, HCode.H_P2])
async def test_19_unshare_refused(pair: LivePair, vm: LiveVm, code: HCode) -> None:
    """Given an SVM with a shared page and a secure one.

    When the guest unshares the page, and the Hypervisor refuses,
    then the SVM is aborted, its loads are refused, and nothing leaked.
    """
    await vm.guest.share(ONE)
    await vm.write(TWO)
    pair.to_hypervisor.answers("H_SVM_PAGE_IN", claim(code))
    with pytest.raises(Refusal, match=f"the SVM is aborted .*{code.name}"):
        await vm.guest.unshare(ONE)
    assert await vm_state(vm) == "ABORT"
    assert await refused_load(vm, TWO) == "aborted"
    nothing_leaked(vm)


async def test_19_unshare_all_refused(pair: LivePair, vm: LiveVm) -> None:
    """Given an SVM with two shared pages.

    When the guest unshares all, and the Hypervisor refuses,
    then the guest is told U_RETRY, stays secure, and its second call brings both pages back zero.
    """
    for gfn in (ONE, THREE):
        await vm.guest.share(gfn)
    pair.to_hypervisor.answers("H_SVM_PAGE_IN", claim(HCode.H_PARAMETER))
    with pytest.raises(Refusal, match="U_RETRY"):
        await vm.guest.unshare_all()
    assert await vm_state(vm) == "SECURE"
    assert {await uv_state(vm, gfn) for gfn in (ONE, THREE)} == {"SHARED_INV"}
    await vm.guest.unshare_all()
    assert await vm.load(ONE) == await vm.load(THREE) == BLANK


@pytest.mark.parametrize("code", [HCode.H_PARAMETER, HCode.H_BUSY])
async def test_19_unshare_all_refused_in_part(pair: LivePair, vm: LiveVm, code: HCode) -> None:
    """Given an SVM with two shared pages.

    When the guest unshares all, and the Hypervisor does a part and refuses the rest,
    then the rest can be tried again, and in the end both pages are secure and zero.
    """
    for gfn in (ONE, THREE):
        await vm.guest.share(gfn)
    pair.to_hypervisor.answers("H_SVM_PAGE_IN", in_part(code))
    if code is HCode.H_PARAMETER:
        with pytest.raises(Refusal, match="U_RETRY"):
            await vm.guest.unshare_all()
        assert await uv_state(vm, ONE) == await hv_state(vm, ONE) == "SECURE"
        assert await uv_state(vm, THREE) == "SHARED_INV"
    await vm.guest.unshare_all()
    for gfn in (ONE, THREE):
        assert await uv_state(vm, gfn) == await hv_state(vm, gfn) == "SECURE"
        assert await vm.load(gfn) == BLANK


async def test_14_load_while_a_part_of_its_pages_is_busy(pair: LivePair, vm: LiveVm) -> None:
    """Given three secure pages, two of which are paged out.

    When the guest loads all three, and the Hypervisor is busy with a part,
    then the load waits and gives what the guest wrote.
    """
    for gfn in (ONE, TWO, THREE):
        await vm.write(gfn)
    await vm.page_out(ONE)
    await vm.page_out(THREE)
    pair.to_hypervisor.answers("H_SVM_PAGE_IN", in_part(HCode.H_BUSY))
    seen = await vm.guest.load(gpa_of(ONE), 3 * PAGE_SIZE)
    assert seen == b"".join(vm.wrote[gfn] for gfn in (ONE, TWO, THREE))


async def test_20_page_out_while_an_unshare_is_pending(pair: LivePair, vm: LiveVm) -> None:
    """Given an unshare that waits for the Hypervisor.

    When the Hypervisor pages out the same page,
    then it is told U_BUSY, the unshare ends, and the guest reads zeroes.
    """
    await vm.guest.share(ONE)
    pair.poke(pair.spare(), BLANK)
    states = []

    async def page_it_out(_: Passing) -> None:
        states.append(await uv_state(vm, ONE))
        for ra in (pair.spare(), vm.ra(ONE)):
            reply = await pair.ultracall(page_out(vm.lpid, ONE, ra))
            # The firmware's U_RETRY is the document's U_BUSY; a page that backs the GFN is refused before.
            assert reply.code is UCode.U_BUSY
        states.append(await uv_state(vm, ONE))

    pair.to_hypervisor.answers("H_SVM_PAGE_IN", before(page_it_out))
    await vm.guest.unshare(ONE)
    assert states == ["HV_UNSHARING", "HV_UNSHARING"]
    assert await vm.load(ONE) == BLANK
    assert pair.peek(pair.spare()) == BLANK


async def test_20_page_out_while_a_share_is_pending(pair: LivePair, vm: LiveVm) -> None:
    """Given a share that waits for the Hypervisor.

    When the Hypervisor pages out the same page and refuses the share afterwards,
    then the page-out is told U_BUSY, and the guest keeps what it wrote.
    """
    page = await vm.write(ONE)

    async def page_it_out(_: Passing) -> None:
        reply = await pair.ultracall(page_out(vm.lpid, ONE, pair.spare()))
        assert reply.code is UCode.U_BUSY

    pair.to_hypervisor.answers("H_SVM_PAGE_IN", instead(page_it_out, HCode.H_PARAMETER))
    with pytest.raises(Refusal, match="U_P2"):
        await vm.guest.share(ONE)
    assert await vm.load(ONE) == page
    nothing_leaked(vm)


async def test_33_slot_removed_under_mapped_gfns(pair: LivePair, vm: LiveVm) -> None:
    """Given a plugged slot with pages that are secure, paged out, shared and invalidated.

    When the slot is unplugged and another takes its place,
    then loads fail while there is none, its secure memory is free, and the new slot reads zero.
    """
    pools = await pair.watch.pools()
    first = (1 << 28) // PAGE_SIZE
    await pair.vmm.plug(vm.lpid, 1, gpa_of(first), 8 * PAGE_SIZE)
    for gfn in range(first, first + 4):
        await vm.write(gfn)
    await vm.page_out(first)
    await vm.guest.share(first + 1)
    await vm.guest.share(first + 2)
    assert (await pair.ultracall(inval(vm.lpid, first + 2))).code is UCode.U_SUCCESS
    await pair.vmm.unplug(vm.lpid, 1)
    vm.wrote.clear()
    assert await pair.watch.pools() == pools
    for gfn in range(first, first + 8):
        assert await refused_load(vm, gfn) == "no slot"
        assert await uv_state(vm, gfn) == await hv_state(vm, gfn) == "no slot"
    await pair.vmm.plug(vm.lpid, 2, gpa_of(first), 8 * PAGE_SIZE)
    for gfn in range(first, first + 8):
        assert await vm.load(gfn) == BLANK
    assert len(await pair.watch.slots(Side.ULTRAVISOR, vm.lpid)) == 2
