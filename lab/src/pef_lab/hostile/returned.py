"""Pages that come back as others than they went, or to other places: attacks 1 to 8, 13 and 40."""

import secrets
from typing import Final

from pef_kit.runtime.bus import NORMAL_BASE
from pef_lab.between.fault_injections import instead
from pef_lab.between.passing import Passing
from pef_lab.hostile.attack import Attack
from pef_lab.hostile.requests import inval, page_in, page_out
from pef_lab.hostile.trial import AS_WRITTEN, Trial
from pef_lab.hostile.victim import BLANK, FREE, RESOLVED
from pef_protocol.codes import HCode, UCode
from pef_protocol.events import Side
from pef_protocol.quantities import PAGE_SIZE, SECURE_BIT, gpa_of

ONE, TWO, THREE = FREE, FREE + 1, FREE + 2
BITS: Final = (0, 7, 8 * 4096 + 3, 8 * PAGE_SIZE - 1)
REFUSED: Final = "refused"
DIFFERENT: Final = "all different"
SENDINGS: Final = 8


async def older_page(at: Trial) -> None:
    """Give back what a page was at an earlier page-out."""
    async with at.svm() as vm:
        await vm.write(ONE)
        older = await at.paged_out(vm, ONE)
        await vm.write(ONE)
        newer = await at.paged_out(vm, ONE)
        await at.ground.memory.poke(vm.ra(ONE), older)
        await at.foiled(page_in(vm.lpid, ONE, vm.ra(ONE)), UCode.U_P3)
        await at.gfn_is(vm, ONE, "PAGEDOUT")
        at.saw("a load of it", RESOLVED if await vm.try_to_load(ONE) == RESOLVED else REFUSED, REFUSED)
        await at.ground.memory.poke(vm.ra(ONE), newer)
        await at.guest_finds(vm)


async def swapped_pages(at: Trial) -> None:
    """Give back the ciphertext of each of two pages for the other."""
    async with at.svm() as vm:
        for gfn in (ONE, TWO):
            await vm.write(gfn)
        one, two = await at.paged_out(vm, ONE), await at.paged_out(vm, TWO)
        await at.ground.memory.poke(vm.ra(ONE), two + one)
        for gfn, count in ((ONE, 1), (TWO, 1), (ONE, 2)):
            await at.foiled(page_in(vm.lpid, gfn, vm.ra(gfn), count), UCode.U_P3)
        await at.ground.memory.poke(vm.ra(ONE), one + two)
        await at.guest_finds(vm)


async def page_of_another_svm(at: Trial) -> None:
    """Give back the ciphertext that another SVM's page of the same number went out as."""
    async with at.svm() as vm, at.svm() as other:
        for each in (vm, other):
            await each.write(ONE)
        mine, theirs = await at.paged_out(vm, ONE), await at.paged_out(other, ONE)
        for ra in (vm.ra(ONE), at.ground.spare()):
            await at.ground.memory.poke(ra, theirs)
            await at.foiled(page_in(vm.lpid, ONE, ra), UCode.U_P3)
        await at.ground.memory.poke(vm.ra(ONE), mine)
        for each in (vm, other):
            await at.guest_finds(each)


async def flipped_bits(at: Trial) -> None:
    """Give back ciphertext with a bit flipped, cut, turned, or none at all."""
    async with at.svm() as vm:
        await vm.write(ONE)
        sealed = await at.paged_out(vm, ONE)
        forged = [sealed[1:] + sealed[:1], sealed[: PAGE_SIZE // 2].ljust(PAGE_SIZE, b"\0"), BLANK]
        for bit in BITS:
            changed = bytearray(sealed)
            changed[bit // 8] ^= 1 << bit % 8
            forged.append(bytes(changed))
        for page in forged:
            await at.ground.memory.poke(vm.ra(ONE), page)
            await at.foiled(page_in(vm.lpid, ONE, vm.ra(ONE)), UCode.U_P3)
        await at.ground.memory.poke(vm.ra(ONE), sealed)
        await at.guest_finds(vm)


async def over_a_resident_page(at: Trial) -> None:
    """Send a page in over one that is secure: written, untouched, or measured."""
    async with at.svm() as vm:
        await vm.write(ONE)
        await at.ground.memory.poke(at.ground.spare(), secrets.token_bytes(PAGE_SIZE))
        kernel = vm.image.kernel_base // PAGE_SIZE
        for gfn in (ONE, TWO, kernel):
            await at.foiled(page_in(vm.lpid, gfn, at.ground.spare()), UCode.U_P2)
        await at.guest_reads_zero(vm, TWO)
        await at.guest_finds(vm)
        await at.image_is_whole(vm)


async def one_page_for_two_gfns(at: Trial) -> None:
    """Offer the page that backs one GFN for another GFN of the same SVM."""
    async with at.svm() as vm:
        await vm.guest.share(ONE)
        for gfn in (TWO, THREE):
            await vm.write(gfn)
        await at.paged_out(vm, TWO)
        backs = vm.ra(ONE)
        await at.foiled(page_in(vm.lpid, TWO, backs), UCode.U_P2)
        await at.foiled(page_out(vm.lpid, THREE, backs), UCode.U_P2)

        async def offer_the_same(_: Passing) -> None:
            await at.foiled(page_in(vm.lpid, THREE, backs), UCode.U_P2)

        at.ground.to_hypervisor.answers(
            "H_SVM_PAGE_IN", instead(at.happens("a share", offer_the_same), HCode.H_PARAMETER)
        )
        await at.refuses("UV_SHARE_PAGE", vm.guest.share(THREE), UCode.U_P2)
        await at.guest_finds(vm)


async def one_page_for_two_svms(at: Trial) -> None:
    """Offer the page that one SVM shares for another SVM's shared page."""
    async with at.svm() as vm, at.svm() as other:
        for each in (vm, other):
            await each.guest.share(ONE)
        await at.foiled(page_in(other.lpid, ONE, vm.ra(ONE)), UCode.U_P2)
        message = await vm.write(ONE, public=True)
        at.saw_bytes("host's look at the shared page", await vm.host_read(ONE), message, AS_WRITTEN)
        await at.guest_reads_zero(other, ONE)


async def page_that_is_no_normal_memory(at: Trial) -> None:
    """Name real addresses in secure memory, in none at all, and beside a page's beginning."""
    outside = (
        *(SECURE_BIT, SECURE_BIT | NORMAL_BASE, SECURE_BIT | at.ground.spare()),
        *(0, NORMAL_BASE - PAGE_SIZE, NORMAL_BASE + (1 << 47), (1 << 64) - PAGE_SIZE),
        at.ground.spare() + 4096,
    )
    async with at.svm() as vm:
        for gfn in (ONE, TWO):
            await vm.write(gfn)
        await at.paged_out(vm, TWO)
        await vm.guest.share(THREE)
        for ra in outside:
            for gfn in (ONE, TWO, THREE):
                await at.foiled(page_in(vm.lpid, gfn, ra), UCode.U_P2)
                await at.foiled(page_out(vm.lpid, gfn, ra), UCode.U_P2)
        await at.guest_finds(vm)


async def into_another_svms_page(at: Trial) -> None:
    """Have a private page go out into a page that another SVM shares."""
    async with at.svm() as vm, at.svm() as other:
        await other.guest.share(ONE)
        message = await other.write(ONE, public=True)
        await vm.write(ONE)
        backs = other.ra(ONE)
        await at.foiled(page_out(vm.lpid, ONE, backs), UCode.U_P2)
        await at.foiled(page_out(vm.lpid, ONE, backs - PAGE_SIZE, 2), UCode.U_P2)
        at.saw_bytes("the other SVM's shared page", await other.host_read(ONE), message, AS_WRITTEN)
        await at.gfn_is(vm, ONE, "SECURE")
        for each in (vm, other):
            await at.guest_finds(each)


async def invalidate_a_secure_page(at: Trial) -> None:
    """Invalidate pages that are secure: resident, and paged out."""
    async with at.svm() as vm:
        for gfn in (ONE, TWO):
            await vm.write(gfn)
        await at.paged_out(vm, TWO)
        for gfn in (ONE, TWO):
            await at.foiled(inval(vm.lpid, gfn), UCode.U_P2)
        await at.guest_finds(vm)
        at.saw(f"the Hypervisor's state of GFN {TWO:#x}", await vm.state_of(TWO, Side.HYPERVISOR), "SECURE")


async def the_same_text_twice(at: Trial) -> None:
    """Have the same text go out again and again, and compare the ciphertexts in blocks of 16 bytes."""
    async with at.svm() as vm:
        page = await vm.write(ONE)
        await vm.guest.store(gpa_of(TWO), page)
        vm.wrote[TWO] = page
        sealed = []
        for _ in range(SENDINGS):
            for gfn in (ONE, TWO):
                sealed.append(await at.paged_out(vm, gfn))
                await at.guest_finds(vm)
        at.saw(
            "ciphertexts of one text", DIFFERENT if len(set(sealed)) == len(sealed) else "equal", DIFFERENT
        )
        # A (key, IV) pair used twice would show here: the same text gives the same blocks at the same place.
        blocks = [(place, page[place : place + 16]) for page in sealed for place in range(0, PAGE_SIZE, 16)]
        at.saw("their blocks", DIFFERENT if len(set(blocks)) == len(blocks) else "some equal", DIFFERENT)


ATTACKS: Final = (
    Attack(1, "an older ciphertext of a page is given back", older_page),
    Attack(2, "the ciphertexts of two pages are swapped", swapped_pages),
    Attack(3, "a page comes back as another SVM's ciphertext", page_of_another_svm),
    Attack(4, "ciphertext with a bit flipped, cut short, turned, zeroed", flipped_bits),
    Attack(5, "a page is sent in over a resident secure one", over_a_resident_page),
    Attack(6, "one real address for two GFNs of an SVM", one_page_for_two_gfns),
    Attack(6, "one real address for two SVMs", one_page_for_two_svms),
    Attack(7, "real addresses in secure memory, or in none", page_that_is_no_normal_memory),
    Attack(8, "a page goes out into another SVM's shared page", into_another_svms_page),
    Attack(13, "a secure page is invalidated", invalidate_a_secure_page),
    Attack(40, "the same text goes out sixteen times", the_same_text_twice),
)
