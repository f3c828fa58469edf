"""A Hypervisor that loses calls, never answers, doubles them, or ends an SVM meanwhile: 21, 22 and 39."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from aiohttp import web

from pef_lab.between.fault_injections import before, dropped, forgotten, garbage, html, silent
from pef_lab.between.go_between import Conduct
from pef_lab.between.passing import Answer, Passing
from pef_lab.hostile.attack import Attack
from pef_lab.hostile.requests import hypervisor_only
from pef_lab.hostile.trial import Trial
from pef_lab.hostile.victim import FREE, RESOLVED, Victim
from pef_protocol.calls import CALLS
from pef_protocol.codes import UCode
from pef_protocol.events import Side
from pef_protocol.quantities import gpa_of
from pef_protocol.ultracalls import SvmTerminate

T = TypeVar("T")
ONE, TWO = FREE, FREE + 1
FAULTS: Final[tuple[Conduct, ...]] = (dropped, forgotten, html, garbage(b'{"code":'))
OF_ESM: Final = ("H_SVM_INIT_START", "H_SVM_PAGE_IN", "H_SVM_INIT_DONE")
ROOM: Final = 5.0
"""Seconds that a call may take beside that."""
NESTED: Final = 3
"""Times that a call may be given up: the hypercall, H_SVM_INIT_ABORT, and what that brings about."""
ENDED: Final = "ended"
ERRORS: Final = {
    name: tuple(sorted(call.codes - {call.success}, key=lambda code: code.name))
    for name, call in CALLS.items()
}
"""What a call may be refused with."""


async def dropped_hypercalls_of_esm(at: Trial) -> None:
    """Drop, garble or forget the hypercalls of UV_ESM, one at a time: each is asked for again."""
    for name in OF_ESM:
        for fault in FAULTS:
            async with at.vm() as vm:
                await vm.load_image()
                at.ground.to_hypervisor.answers(name, fault)
                at.answered("UV_ESM", (await vm.enter()).code, UCode.U_SUCCESS)
                await at.calls_acted_once()
                await at.image_is_whole(vm)
                await _can_be_ended(at, vm)


async def _can_be_ended(at: Trial, vm: Victim) -> None:
    """See that nothing is half done, and that after the end of the SVM the VM is normal on both sides."""
    at.ground.to_hypervisor.honest_again()
    await at.ground.to_hypervisor.settled()
    at.saw("pages left in flight", f"{await at.left_in_flight(vm)}", "0")
    await at.made(SvmTerminate(vm.lpid), UCode.U_SUCCESS, UCode.U_INVALID)
    await at.ground.vmm.reset(vm.lpid)
    states = {await vm.state(side) for side in Side}
    at.saw("the VM after a reset", " and ".join(sorted(states)), "NORMAL")


async def dropped_hypercalls_of_a_share(at: Trial) -> None:
    """Drop, garble or forget the hypercall of a share, and of the way back: it is asked for again."""
    for fault in FAULTS:
        async with at.svm() as vm:
            await vm.write(ONE)
            at.ground.to_hypervisor.answers("H_SVM_PAGE_IN", fault)
            await vm.guest.share(ONE)
            vm.wrote.pop(ONE)
            await at.guest_reads_zero(vm, ONE)
            at.ground.to_hypervisor.answers("H_SVM_PAGE_IN", fault)
            await vm.guest.unshare(ONE)
            await at.guest_reads_zero(vm, ONE)
            await at.calls_acted_once()
            await _can_be_ended(at, vm)


async def silent_hypervisor(at: Trial) -> None:
    """Never answer the hypercalls of UV_ESM, of a load, and of a share: none is waited for for ever."""
    async with at.vm() as vm:
        await vm.load_image()
        for name in ("H_SVM_INIT_START", "H_SVM_INIT_ABORT"):
            at.ground.to_hypervisor.always(name, silent)
        reply = await _within(at, "UV_ESM", vm.enter)
        at.answered("UV_ESM", reply.code if reply else "no answer", UCode.U_STATE)
        await _can_be_ended(at, vm)
    async with at.svm() as vm:
        for gfn in (ONE, TWO):
            await vm.write(gfn)
        await at.paged_out(vm, TWO)
        at.ground.to_hypervisor.always("H_SVM_PAGE_IN", silent)
        loaded = await _within(at, "a load", lambda: vm.try_to_load(TWO))
        at.saw("a load meanwhile", RESOLVED if loaded == RESOLVED else "refused", "refused")
        at.ground.to_hypervisor.honest_again()
        if await vm.state() == "SECURE":
            await at.guest_finds(vm)
        else:
            at.saw("the guest's page", await vm.try_to_load(ONE), "aborted")
        await _can_be_ended(at, vm)


async def _within(at: Trial, what: str, deed: Callable[[], Awaitable[T]]) -> T | None:
    """See that a guest's call ends in the time after which the Ultravisor gives up; return what it gave."""
    came = None
    try:
        async with asyncio.timeout(NESTED * at.ground.patience + ROOM):
            came = await deed()
    except TimeoutError:
        at.saw(f"{what} of a silent Hypervisor's guest", "has not ended", ENDED)
        return None
    at.saw(f"{what} of a silent Hypervisor's guest", ENDED, ENDED)
    return came


async def doubled_calls(at: Trial) -> None:
    """Have every ultracall of a VM's life delivered twice: the first answer is given again."""
    await _lived_through(at, Passing.forward, same=True)


async def calls_made_twice(at: Trial) -> None:
    """Have every ultracall of a VM's life made twice, as two messages: the second must change nothing."""
    await _lived_through(at, Passing.forward_anew, same=False)


async def _lived_through(at: Trial, again: Callable[[Passing], Awaitable[Answer]], *, same: bool) -> None:
    """Let a VM live while each of its ultracalls comes `again`; `same`: with the answer to the first."""
    seen: set[str] = set()

    async def twice(passing: Passing) -> web.StreamResponse:
        first = await passing.forward()
        between = (await at.ground.digests())[Side.ULTRAVISOR]
        second = await again(passing)
        after = (await at.ground.digests())[Side.ULTRAVISOR]
        seen.add(passing.name)
        promised = [first.code] if same else [code.name for code in CALLS[passing.name].codes]
        at.answered(f"{passing.name} again", second.code, *promised)
        at.saw(
            f"{passing.name} the second time", "an effect" if between != after else "no effect", "no effect"
        )
        return first.response()

    for name in hypervisor_only(0, 0, 0):
        at.ground.to_ultravisor.always(name, twice)
    async with at.svm() as vm:
        for gfn in (ONE, TWO):
            await vm.write(gfn)
        await at.paged_out(vm, ONE)
        await at.guest_finds(vm)
        await vm.guest.share(TWO)
        vm.wrote.pop(TWO)
        await at.ground.vmm.unmap(vm.lpid, gpa_of(TWO), 1)
        await at.guest_reads_zero(vm, TWO)
        await vm.guest.unshare(TWO)
        await at.guest_reads_zero(vm, TWO)
        await at.image_is_whole(vm)
        await at.guest_finds(vm)
        await at.ground.vmm.reset(vm.lpid)
        states = {await vm.state(side) for side in Side}
        at.saw("the VM after a reset", " and ".join(sorted(states)), "NORMAL")
    at.saw("ultracalls that came", f"{len(seen)}", f"{len(hypervisor_only(0, 0, 0))}")


async def terminated_meanwhile(at: Trial) -> None:
    """End an SVM while a share of it is open, and while a page of it is asked for."""
    used = await at.ground.watch.pools()

    async def end(vm: Victim) -> None:
        await at.made(SvmTerminate(vm.lpid), UCode.U_SUCCESS)

    async def is_gone(vm: Victim) -> None:
        at.saw("loads of what is gone", await vm.try_to_load(TWO), "not secure")
        left = (await at.ground.watch.pools())[Side.ULTRAVISOR] - used[Side.ULTRAVISOR]
        at.saw("secure pages that the Ultravisor keeps", f"{left}", "0")
        await at.ground.vmm.reset(vm.lpid)
        await at.vm_is(vm, "NORMAL")

    async with at.svm() as vm:
        for gfn in (ONE, TWO):
            await vm.write(gfn)
        deed = at.happens("a share", lambda _: end(vm))
        at.ground.to_hypervisor.answers("H_SVM_PAGE_IN", before(deed))
        await at.refuses("UV_SHARE_PAGE", vm.guest.share(ONE), *ERRORS["UV_SHARE_PAGE"])
        await is_gone(vm)
    async with at.svm() as vm:
        for gfn in (ONE, TWO):
            await vm.write(gfn)
        await at.paged_out(vm, ONE)
        deed = at.happens("a page that is asked for", lambda _: end(vm))
        at.ground.to_hypervisor.answers("H_SVM_PAGE_IN", before(deed))
        at.saw(
            "a load meanwhile", "resolved" if await vm.try_to_load(ONE) == RESOLVED else "refused", "refused"
        )
        await is_gone(vm)


ATTACKS: Final = (
    Attack(21, "hypercalls of UV_ESM are lost, garbled, their answers lost", dropped_hypercalls_of_esm),
    Attack(21, "hypercalls of a share are lost, garbled, their answers lost", dropped_hypercalls_of_a_share),
    Attack(21, "hypercalls are never answered", silent_hypervisor, slow=True),
    Attack(22, "every ultracall of a VM's life is made twice", calls_made_twice),
    Attack(22, "every ultracall of a VM's life is delivered twice", doubled_calls),
    Attack(39, "an SVM is ended while its calls are open", terminated_meanwhile),
)
