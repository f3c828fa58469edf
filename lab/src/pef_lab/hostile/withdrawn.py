"""Pages that are withdrawn, pretended or implanted at the edges of a share: attacks 14, 17, 18 and 20."""

from typing import Final

from aiohttp import web

from pef_lab.between.fault_injections import before, claim, instead
from pef_lab.between.passing import Passing
from pef_lab.between.script import honest
from pef_lab.hostile.attack import Attack
from pef_lab.hostile.failing import ERRORS
from pef_lab.hostile.requests import inval, page_in
from pef_lab.hostile.trial import Trial
from pef_lab.hostile.victim import FREE, RESOLVED
from pef_protocol.codes import HCode, UCode
from pef_protocol.quantities import PAGE_SIZE

ONE, TWO = FREE, FREE + 1
IMPLANT: Final = b"implanted by the Hypervisor".ljust(PAGE_SIZE, b"!")
OFTEN: Final = 6
"""Times that a page is called brought: more than anybody asks."""


async def withdrawn_before_the_commit(at: Trial) -> None:
    """Offer a page for a share, withdraw it before the share is done, and use it for something else."""
    async with at.svm() as vm:
        for gfn in (ONE, TWO):
            await vm.write(gfn)

        async def offer_and_withdraw(_: Passing) -> None:
            await at.made(page_in(vm.lpid, ONE, vm.ra(ONE)), UCode.U_SUCCESS)
            await at.made(inval(vm.lpid, ONE), UCode.U_SUCCESS)
            await at.ground.memory.poke(vm.ra(ONE), IMPLANT)

        deed = at.happens("a share", offer_and_withdraw)
        at.ground.to_hypervisor.answers("H_SVM_PAGE_IN", instead(deed, HCode.H_SUCCESS))
        await vm.guest.share(ONE)
        vm.wrote.pop(ONE)
        there = await at.ground.memory.peek(vm.ra(ONE))
        at.saw_bytes("the withdrawn page", there, IMPLANT, "untouched")
        await at.gfn_is(vm, ONE, "SHARED_INV")
        await at.guest_finds(vm)


async def withdrawn_while_unsharing(at: Trial) -> None:
    """Withdraw a shared page while the guest is taking it back."""
    async with at.svm() as vm:
        await vm.guest.share(ONE)
        await vm.write(TWO)

        async def withdraw(_: Passing) -> None:
            await at.made(inval(vm.lpid, ONE), UCode.U_SUCCESS)
            await at.gfn_is(vm, ONE, "HV_UNSHARING_INV")
            await at.ground.memory.poke(vm.ra(ONE), IMPLANT)

        deed = at.happens("an unshare", withdraw)
        at.ground.to_hypervisor.answers("H_SVM_PAGE_IN", before(deed))
        await vm.guest.unshare(ONE)
        await at.guest_reads_zero(vm, ONE)
        await at.gfn_is(vm, ONE, "SECURE")
        await at.guest_finds(vm)


async def implant_after_unsharing_all(at: Trial) -> None:
    """Write into pages, GFN 0 among them, after the guest has taken all of them back."""
    async with at.svm() as vm:
        gfns = (0, 1, ONE)
        for gfn in gfns:
            await vm.guest.share(gfn)
            await vm.write(gfn, public=True)
        vm.wrote.clear()
        await vm.guest.unshare_all()
        for gfn in gfns:
            await at.ground.memory.poke(vm.ra(gfn), IMPLANT)
        await at.guest_reads_zero(vm, *gfns)
        for gfn in gfns:
            await at.gfn_is(vm, gfn, "SECURE")


async def implant_for_a_paged_out_page(at: Trial) -> None:
    """Have the guest take back a range in which one page went out, and write over its ciphertext."""
    async with at.svm() as vm:
        await vm.guest.share(ONE)
        await vm.write(TWO)
        await at.paged_out(vm, TWO)
        await vm.guest.unshare(ONE, 2)
        vm.wrote.clear()
        await at.guest_reads_zero(vm, ONE, TWO)
        await at.ground.memory.poke(vm.ra(ONE), IMPLANT + IMPLANT)
        await at.guest_reads_zero(vm, ONE, TWO)


async def page_in_that_never_was(at: Trial) -> None:
    """Say again and again that a paged-out page has come, when it is loaded, and when it is to be shared."""

    async def pretend(passing: Passing) -> web.StreamResponse:
        shared = passing.form["flags"]
        return await (honest if shared else claim(HCode.H_SUCCESS))(passing)

    async with at.svm() as vm:
        await vm.write(ONE)
        await at.paged_out(vm, ONE)
        at.ground.to_hypervisor.always("H_SVM_PAGE_IN", pretend)
        for _ in range(OFTEN):
            refused = RESOLVED if await vm.try_to_load(ONE) == RESOLVED else "refused"
            at.saw("a load of what never came", refused, "refused")
        await at.refuses("UV_SHARE_PAGE", vm.guest.share(ONE), *ERRORS["UV_SHARE_PAGE"])
        at.ground.to_hypervisor.honest_again()
        await at.gfn_is(vm, ONE, "PAGEDOUT")
        await at.guest_finds(vm)


ATTACKS: Final = (
    Attack(14, "a page is withdrawn between its offer and the share", withdrawn_before_the_commit),
    Attack(17, "pages are written after all were taken back, GFN 0 too", implant_after_unsharing_all),
    Attack(17, "a page that went out is taken back, and written", implant_for_a_paged_out_page),
    Attack(18, "a paged-out page is called brought, and none came", page_in_that_never_was),
    Attack(20, "a page is withdrawn while its unshare is open", withdrawn_while_unsharing),
)
