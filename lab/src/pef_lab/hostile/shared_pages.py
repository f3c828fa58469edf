"""Shared pages, and pages that change their owner: attacks 14 to 20, 23 and 33."""

import asyncio
from typing import Final

from pef_lab.between.fault_injections import after, before, claim, instead
from pef_lab.between.passing import Passing
from pef_lab.failures import Refusal
from pef_lab.hostile.attack import Attack
from pef_lab.hostile.requests import inval, page_in, page_out
from pef_lab.hostile.trial import ZERO, Trial
from pef_lab.hostile.victim import BLANK, FREE, NO_SLOT, RESOLVED, Victim
from pef_protocol.codes import HCode, UCode
from pef_protocol.events import Side
from pef_protocol.quantities import PAGE_SIZE, gpa_of

ONE, TWO, THREE = FREE, FREE + 1, FREE + 2
ROUNDS: Final = 12
ABORTED: Final = "aborted"
PLUGGED: Final = (1 << 28) // PAGE_SIZE
"""First GFN of a slot beside the image's."""
REFUSALS: Final = (HCode.H_PARAMETER, HCode.H_UNSUPPORTED, HCode.H_P2)
NEW: Final = b"new".ljust(PAGE_SIZE, b"\0")
IMPLANT: Final = b"implanted by the Hypervisor".ljust(PAGE_SIZE, b"!")


async def stale_after_invalidation(at: Trial) -> None:
    """Invalidate a shared page, change what lies there, and bring another page in its place."""
    async with at.svm() as vm:
        await vm.guest.share(ONE)
        await vm.write(ONE, public=True)
        await at.made(inval(vm.lpid, ONE), UCode.U_SUCCESS)
        await at.gfn_is(vm, ONE, "SHARED_INV")
        await at.ground.memory.poke(vm.ra(ONE), NEW)
        asked = at.ground.to_hypervisor.names.count("H_SVM_PAGE_IN")
        await at.guest_reads(vm, ONE, NEW, "what is there now")
        again = at.ground.to_hypervisor.names.count("H_SVM_PAGE_IN") - asked
        at.saw("times it was asked for anew", str(again), "1")

        await at.ground.ultracall(inval(vm.lpid, ONE))
        await at.ground.memory.poke(at.ground.spare(), NEW[::-1])
        await at.made(page_in(vm.lpid, ONE, at.ground.spare()), UCode.U_SUCCESS)
        await at.guest_reads(vm, ONE, NEW[::-1], "what is there now")
        stored = await vm.write(ONE, public=True)
        at.saw_bytes("where the store went", await at.ground.memory.peek(at.ground.spare()), stored, "there")
        at.saw_bytes("where the page was", await at.ground.memory.peek(vm.ra(ONE)), NEW, "untouched")


async def stale_after_page_out(at: Trial) -> None:
    """Have a page go out and wipe it: a load must not find the old bytes in any other place."""
    async with at.svm() as vm:
        await vm.write(ONE)
        await at.guest_finds(vm)
        sealed = await at.paged_out(vm, ONE)
        await at.ground.memory.poke(vm.ra(ONE), BLANK)
        refused = "refused" if await vm.try_to_load(ONE) != RESOLVED else RESOLVED
        at.saw("a load while the ciphertext is gone", refused, "refused")
        await at.ground.memory.poke(vm.ra(ONE), sealed)
        await at.guest_finds(vm)
        await at.gfn_is(vm, ONE, "SECURE")


async def image_changed_under_the_reader(at: Trial) -> None:
    """Change every page of the image as soon as it has been taken in, while UV_ESM goes on."""
    async with at.vm() as vm:

        async def change(passing: Passing) -> None:
            for ra, _, count in passing.form["runs"]:
                await at.ground.memory.poke(ra, b"\xff" * PAGE_SIZE * count)

        at.ground.to_ultravisor.always("UV_PAGE_IN", after(at.happens("a page of the image", change)))
        await vm.load_image()
        at.answered("UV_ESM", (await vm.enter()).code, UCode.U_SUCCESS)
        at.ground.to_ultravisor.honest_again()
        await at.image_is_whole(vm)


async def ciphertext_changed_under_the_reader(at: Trial) -> None:
    """Write genuine and forged ciphertext in turns while the guest's load takes the page in."""
    async with at.svm() as vm:
        page = await vm.write(ONE)
        for _ in range(ROUNDS):
            sealed = await at.paged_out(vm, ONE)
            stop = asyncio.Event()
            flipping = asyncio.create_task(_flip(at, vm.ra(ONE), sealed, stop))
            try:
                loaded = await vm.load(ONE)
            except Refusal:
                loaded = page
            finally:
                stop.set()
                await flipping
            at.saw_bytes("a load meanwhile: the page, or nothing", loaded, page, "so")
            await at.guest_finds(vm)


async def _flip(at: Trial, ra: int, sealed: bytes, stop: asyncio.Event) -> None:
    """Write a forged page and the genuine one in turns; the genuine one is the last."""
    forged = sealed[:-1] + bytes([sealed[-1] ^ 1])
    while not stop.is_set():
        await at.ground.memory.poke(ra, forged)
        await at.ground.memory.poke(ra, sealed)


async def stale_secrets_at_share(at: Trial) -> None:
    """Look at pages that held secrets, resident and paged out, the moment they are offered, and after."""
    async with at.svm() as vm:
        for gfn in (ONE, TWO):
            await vm.write(gfn)
        await at.paged_out(vm, TWO)

        async def look(passing: Passing) -> None:
            if passing.form["flags"]:
                pages = [(f"page {gfn:#x}", await at.ground.memory.peek(vm.ra(gfn))) for gfn in (ONE, TWO)]
                at.saw("secrets in the pages as offered", "; ".join(vm.flock.in_all(pages)) or "none", "none")

        at.ground.to_hypervisor.always("H_SVM_PAGE_IN", after(at.happens("a share", look)))
        await vm.guest.share(ONE, 2)
        for gfn in (ONE, TWO):
            at.saw_bytes("host's look at the shared page", await vm.host_read(gfn), BLANK, ZERO)
        await at.guest_reads_zero(vm, ONE, TWO)
        await vm.guest.store(gpa_of(ONE), NEW)
        await vm.guest.share(ONE)
        at.saw_bytes("the same, shared a second time", await vm.host_read(ONE), BLANK, ZERO)
        vm.wrote.update({ONE: BLANK, TWO: BLANK})


async def implant_at_unshare(at: Trial) -> None:
    """Write into shared pages before, and while, the guest takes them back."""
    async with at.svm() as vm:
        await vm.guest.share(ONE, 2)
        await at.ground.vmm.write(vm.lpid, gpa_of(ONE), IMPLANT)

        async def implant(_: Passing) -> None:
            await at.ground.memory.poke(vm.ra(ONE), IMPLANT + IMPLANT)

        deed = at.happens("an unshare", implant)
        at.ground.to_hypervisor.answers("H_SVM_PAGE_IN", before(deed))
        at.ground.to_ultravisor.always("UV_PAGE_IN", before(deed))
        await vm.guest.unshare(ONE, 2)
        await at.guest_reads_zero(vm, ONE, TWO)
        await at.gfn_is(vm, ONE, "SECURE")


async def share_without_a_page(at: Trial) -> None:
    """Say that a share is done, and offer no page for it."""
    async with at.svm() as vm:
        for gfn in (ONE, TWO):
            await vm.write(gfn)
        at.ground.to_hypervisor.answers("H_SVM_PAGE_IN", claim(HCode.H_SUCCESS))
        await at.refuses("UV_SHARE_PAGE", vm.guest.share(ONE), UCode.U_P2)
        await _is_aborted(at, vm, ONE, TWO)
        await at.gfn_is(vm, ONE, "SECURE")


async def refused_unshare(at: Trial) -> None:
    """Refuse to give a shared page up."""
    for code in REFUSALS:
        async with at.svm() as vm:
            await vm.guest.share(ONE)
            await vm.write(TWO)
            at.ground.to_hypervisor.answers("H_SVM_PAGE_IN", claim(code))
            await at.refuses("UV_UNSHARE_PAGE", vm.guest.unshare(ONE), UCode.U_P2)
            await _is_aborted(at, vm, TWO)


async def _is_aborted(at: Trial, vm: Victim, *gfns: int) -> None:
    await at.vm_is(vm, "ABORT")
    for gfn in gfns:
        at.saw("loads of an aborted SVM", await vm.try_to_load(gfn), ABORTED)


async def refused_unshare_of_all(at: Trial) -> None:
    """Refuse to give any page up when the guest takes all of them back."""
    async with at.svm() as vm:
        for gfn in (ONE, THREE):
            await vm.guest.share(gfn)
        await vm.write(TWO)
        at.ground.to_hypervisor.answers("H_SVM_PAGE_IN", claim(HCode.H_PARAMETER))
        await at.refuses("UV_UNSHARE_ALL_PAGES", vm.guest.unshare_all(), UCode.U_RETRY)
        await at.vm_is(vm, "SECURE")
        for gfn in (ONE, THREE):
            await at.gfn_is(vm, gfn, "SHARED_INV")
        await vm.guest.unshare_all()
        await at.guest_reads_zero(vm, ONE, THREE)
        await at.guest_finds(vm)


async def page_out_while_unsharing(at: Trial) -> None:
    """Ask for a page while the guest is taking it back."""
    async with at.svm() as vm:
        await vm.guest.share(ONE)
        await at.ground.memory.poke(at.ground.spare(), BLANK)

        async def page_it_out(_: Passing) -> None:
            for ra in (at.ground.spare(), vm.ra(ONE)):
                # The firmware's U_RETRY is the document's U_BUSY.
                await at.foiled(page_out(vm.lpid, ONE, ra), UCode.U_BUSY)
            await at.gfn_is(vm, ONE, "HV_UNSHARING")

        deed = at.happens("an unshare", page_it_out)
        at.ground.to_hypervisor.answers("H_SVM_PAGE_IN", before(deed))
        await vm.guest.unshare(ONE)
        await at.guest_reads_zero(vm, ONE)
        spare = await at.ground.memory.peek(at.ground.spare())
        at.saw_bytes("the page that it was to go to", spare, BLANK, ZERO)


async def page_out_while_sharing(at: Trial) -> None:
    """Ask for a private page while the guest is sharing it, then refuse the share."""
    async with at.svm() as vm:
        await vm.write(ONE)

        async def page_it_out(_: Passing) -> None:
            await at.foiled(page_out(vm.lpid, ONE, at.ground.spare()), UCode.U_BUSY)

        deed = at.happens("a share", page_it_out)
        at.ground.to_hypervisor.answers("H_SVM_PAGE_IN", instead(deed, HCode.H_PARAMETER))
        await at.refuses("UV_SHARE_PAGE", vm.guest.share(ONE), UCode.U_P2)
        await at.guest_finds(vm)


async def reordered_offers(at: Trial) -> None:
    """Offer the pages of one share last first, each alone, and one of them twice."""
    async with at.svm() as vm:
        gfns = (ONE, TWO, THREE)
        for gfn in gfns:
            await vm.write(gfn)
        await vm.write(THREE + 1)
        codes: list[str] = []

        async def offer(_: Passing) -> None:
            offers = [page_in(vm.lpid, gfn, vm.ra(gfn)) for gfn in (*reversed(gfns), TWO)]
            codes.extend([(await at.ground.ultracall(each)).code.name for each in offers])

        deed = at.happens("a share", offer)
        at.ground.to_hypervisor.answers("H_SVM_PAGE_IN", instead(deed, HCode.H_SUCCESS))
        await vm.guest.share(ONE, len(gfns))
        for code in codes[: len(gfns)]:
            at.answered("UV_PAGE_IN", code, UCode.U_SUCCESS)
        at.answered("UV_PAGE_IN again", codes[-1], UCode.U_SUCCESS, UCode.U_P2, UCode.U_BUSY)
        for gfn in gfns:
            vm.wrote.pop(gfn)
            at.saw_bytes(
                "the shared pages, where they are", await at.ground.memory.peek(vm.ra(gfn)), BLANK, ZERO
            )
            await at.gfn_is(vm, gfn, "SHARED")
        await at.guest_reads_zero(vm, *gfns)
        await at.guest_finds(vm)


async def slot_removed_under_pages(at: Trial) -> None:
    """Take a slot away whose pages are resident, paged out, shared and invalidated, and plug it anew."""
    async with at.svm() as vm:
        pools = await at.ground.watch.pools()
        gfns = range(PLUGGED, PLUGGED + 8)
        await at.ground.vmm.plug(vm.lpid, 1, gpa_of(PLUGGED), len(gfns) * PAGE_SIZE)
        for gfn in gfns[:4]:
            await vm.write(gfn)
        await at.paged_out(vm, PLUGGED)
        for gfn in gfns[1:3]:
            await vm.guest.share(gfn)
        await at.made(inval(vm.lpid, PLUGGED + 2), UCode.U_SUCCESS)
        await at.ground.vmm.unplug(vm.lpid, 1)
        vm.wrote.clear()
        kept = "as before" if await at.ground.watch.pools() == pools else "not as before"
        at.saw("secure pages in use without the slot", kept, "as before")
        for gfn in gfns:
            at.saw("loads where no slot is", await vm.try_to_load(gfn), NO_SLOT)
            at.saw(
                "both states there",
                f"{await vm.state_of(gfn)}, {await vm.state_of(gfn, Side.HYPERVISOR)}",
                f"{NO_SLOT}, {NO_SLOT}",
            )
        await at.ground.vmm.plug(vm.lpid, 2, gpa_of(PLUGGED), len(gfns) * PAGE_SIZE)
        await at.guest_reads_zero(vm, *gfns)


ATTACKS: Final = (
    Attack(14, "a mapping is used that an invalidation took away", stale_after_invalidation),
    Attack(14, "a page is read that went out, and whose ciphertext is gone", stale_after_page_out),
    Attack(15, "the image changes once it has been taken in", image_changed_under_the_reader),
    Attack(15, "ciphertext changes while it is taken in", ciphertext_changed_under_the_reader),
    Attack(16, "secrets are looked for in pages that become shared", stale_secrets_at_share),
    Attack(17, "shared pages are written while they are taken back", implant_at_unshare),
    Attack(18, "a share is called done, and no page was offered", share_without_a_page),
    Attack(19, "an unshare is refused", refused_unshare),
    Attack(19, "the unshare of all pages is refused", refused_unshare_of_all),
    Attack(20, "a page is asked for while its unshare is open", page_out_while_unsharing),
    Attack(20, "a page is asked for while its share is open", page_out_while_sharing),
    Attack(23, "the pages of one share are offered out of order, one twice", reordered_offers),
    Attack(33, "a slot is removed under pages in every state", slot_removed_under_pages),
)
