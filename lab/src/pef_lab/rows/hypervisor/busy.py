"""Busy, either way: U_BUSY is tried again with a bound, and who meets a GFN or a VM in hand is told H_BUSY.

Source: decisions, "try later", "a GFN with a hypercall or ultracall outstanding"; specification of the
Hypervisor, section 7 (K4, K8, K17).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Final

from pef_lab.rows.hypervisor import deeds
from pef_lab.rows.hypervisor.deeds import BAD, BUSY, GOOD, STATE, Deed
from pef_lab.rows.hypervisor.one_vm import OneVm, found, row_in_vm
from pef_lab.rows.hypervisor.outside import Outside
from pef_lab.rows.hypervisor.seen import letter_of
from pef_lab.rows.hypervisor.vms import ONE_PAGE, Letter, Life, VmPlan
from pef_lab.rows.playing.ultravisor import honestly, meanwhile, refuse
from pef_lab.rows.row import Finding, Kind, Level, Row
from pef_protocol.codes import UCode
from pef_protocol.hypercalls import SvmInitAbort, SvmInitStart
from pef_protocol.quantities import Lpid

N, S, P, H = Letter.N, Letter.S, Letter.P, Letter.H
TRANSIENT: Final = Life.TRANSIENT
TIMES: Final = 3
"""How often the Ultravisor is busy before it does what it is asked for."""
A_MOMENT: Final = 0.1
"""Seconds that a host's unmap may go on while the page that it is after is on offer."""
Act = Callable[[OneVm], Awaitable[Finding]]


async def _plug(outside: Outside, lpid: int) -> str:
    return await outside.plug(lpid, 9, 32, 1)


async def _unplug(outside: Outside, lpid: int) -> str:
    return await outside.unplug(lpid, ONE_PAGE[0].slotid)


async def _destroy(outside: Outside, lpid: int) -> str:
    return await outside.destroy(lpid)


async def _start_unasked(outside: Outside, lpid: int) -> str:
    """Make H_SVM_INIT_START, though the Ultravisor has begun no SVM."""
    return (await outside.hypercall(SvmInitStart(Lpid(lpid)))).code


async def _abort_unasked(outside: Outside, lpid: int) -> str:
    """Make H_SVM_INIT_ABORT, though UV_ESM has not failed."""
    return (await outside.hypercall(SvmInitAbort(Lpid(lpid)))).code


TRIED_AGAIN: Final[Mapping[str, tuple[Life, Letter, Deed, str]]] = {
    "init-start": (Life.NORMAL, N, deeds.init_start, "UV_REGISTER_MEM_SLOT"),
    "page-in": (TRANSIENT, N, deeds.page_in, "UV_PAGE_IN"),
    "share": (TRANSIENT, S, deeds.share, "UV_PAGE_IN"),
    "page-out": (TRANSIENT, S, deeds.page_out, "UV_PAGE_OUT"),
    "host-read": (TRANSIENT, S, deeds.host_read, "UV_PAGE_OUT"),
    "unmap": (TRANSIENT, H, deeds.unmap, "UV_PAGE_INVAL"),
    "init-abort": (TRANSIENT, S, deeds.init_abort, "UV_PAGE_OUT"),
    "slot-added": (TRANSIENT, S, _plug, "UV_REGISTER_MEM_SLOT"),
    "slot-removed": (Life.SECURE, S, _unplug, "UV_UNREGISTER_MEM_SLOT"),
}
"""What is busy at first and done in the end: the VM's life, GFN 0, the deed, the ultracall that is busy."""

FOR_EVER: Final[Mapping[str, tuple[Life, Letter, Deed, str, frozenset[str]]]] = {
    "page-in": (TRANSIENT, N, deeds.page_in, "UV_PAGE_IN", frozenset({BUSY})),
    "share": (TRANSIENT, S, deeds.share, "UV_PAGE_IN", frozenset({BUSY})),
    "page-out": (TRANSIENT, S, deeds.page_out, "UV_PAGE_OUT", frozenset({BUSY})),
    "init-start": (Life.NORMAL, N, deeds.init_start, "UV_REGISTER_MEM_SLOT", frozenset({BAD, BUSY})),
    "init-abort": (TRANSIENT, S, deeds.init_abort, "UV_PAGE_OUT", frozenset({STATE, BUSY})),
    "host-read": (TRANSIENT, S, deeds.host_read, "UV_PAGE_OUT", frozenset({"EBUSY"})),
}
"""What is busy for ever: the wait is bounded, and GFN 0 is then what it was."""

IN_HAND: Final[Mapping[str, tuple[Letter, Deed, str, Deed]]] = {
    "page-in-during-page-in": (N, deeds.page_in, "UV_PAGE_IN", deeds.page_in),
    "share-during-page-in": (N, deeds.page_in, "UV_PAGE_IN", deeds.share),
    "page-out-during-page-in": (P, deeds.page_in, "UV_PAGE_IN", deeds.page_out),
    "page-in-during-page-out": (S, deeds.page_out, "UV_PAGE_OUT", deeds.page_in),
    "share-during-page-out": (S, deeds.page_out, "UV_PAGE_OUT", deeds.share),
    "page-out-during-share": (S, deeds.share, "UV_PAGE_IN", deeds.page_out),
}
"""A GFN that one call has in hand, and another call for it."""

HELD: Final[Mapping[str, tuple[Life, Deed, str, Deed]]] = {
    "init-start-during-destroy": (Life.NORMAL, _destroy, "UV_WRITE_PATE", _start_unasked),
    "init-abort-during-init-start": (Life.NORMAL, deeds.init_start, "UV_REGISTER_MEM_SLOT", _abort_unasked),
    "init-done-during-slot-added": (TRANSIENT, _plug, "UV_REGISTER_MEM_SLOT", deeds.init_done),
    "init-abort-during-slot-added": (TRANSIENT, _plug, "UV_REGISTER_MEM_SLOT", _abort_unasked),
}
"""A VM that one operation has as a whole, and a hypercall about it."""


def rows() -> Iterator[Row]:
    """Yield the rows of what is busy."""
    for name, (life, letter, deed, ultracall) in TRIED_AGAIN.items():
        yield row_in_vm(
            f"hv/busy/tried-again/{name}",
            Kind.CODE,
            ultracall,
            f"{ultracall} that is busy is tried again",
            VmPlan(life, slots=ONE_PAGE, gfns={0: letter}),
            _act_tried_again(deed, ultracall),
        )
    for name, (life, letter, deed, ultracall, codes) in FOR_EVER.items():
        yield row_in_vm(
            f"hv/busy/for-ever/{name}",
            Kind.CODE,
            ultracall,
            f"{ultracall} that stays busy is given up, and nothing has changed",
            VmPlan(life, slots=ONE_PAGE, gfns={0: letter}),
            _act_for_ever(deed, ultracall, codes),
            patient=True,
        )
    for name, (letter, outer, ultracall, inner) in IN_HAND.items():
        yield row_in_vm(
            f"hv/busy/in-hand/{name}",
            Kind.CODE,
            "H_SVM_PAGE_OUT" if inner is deeds.page_out else "H_SVM_PAGE_IN",
            "a GFN with a call outstanding is busy for every other call",
            VmPlan(TRANSIENT, slots=ONE_PAGE, gfns={0: letter}),
            _act_meanwhile(outer, ultracall, inner),
        )
    for name, (life, outer, ultracall, inner) in HELD.items():
        yield row_in_vm(
            f"hv/busy/held/{name}",
            Kind.CODE,
            "VM",
            "a VM that another operation has is busy",
            VmPlan(life, slots=ONE_PAGE, gfns={0: N}),
            _act_meanwhile(outer, ultracall, inner),
            level=Level.SHOULD,
        )
    yield row_in_vm(
        "hv/busy/in-hand/unmap-during-share",
        Kind.CODE,
        "UV_PAGE_INVAL",
        "a page that is on offer is not unmapped meanwhile",
        VmPlan(TRANSIENT, slots=ONE_PAGE, gfns={0: N}),
        _act_unmap_on_offer,
    )


def _act_tried_again(deed: Deed, ultracall: str) -> Act:
    async def act(scene: OneVm) -> Finding:
        scene.played.answers(ultracall, *[refuse(UCode.U_BUSY)] * TIMES, lpid=scene.lpid)
        number = scene.outside.number
        code = await deed(scene.outside, scene.lpid)
        tries = scene.sent_since(number).count(ultracall)
        good = {BAD} if deed is deeds.init_abort else {GOOD, "OK"}
        wanted = code if code in good else " or ".join(sorted(good))
        return found(f"{wanted} after {TIMES + 1} tries", f"{code} after {tries} tries")

    return act


def _act_for_ever(deed: Deed, ultracall: str, codes: frozenset[str]) -> Act:
    async def act(scene: OneVm) -> Finding:
        scene.played.answers_always(ultracall, refuse(UCode.U_BUSY), scene.lpid)
        code = await deed(scene.outside, scene.lpid)
        scene.played.forget(scene.lpid)
        then = await letter_of(scene.outside, scene.lpid, 0)
        was = scene.vm.plan.gfns[0]
        told = " or ".join(sorted(codes)) if code not in codes else code
        return found(f"{told}; then {was}", f"{code}; then {then}")

    return act


def _act_meanwhile(outer: Deed, ultracall: str, inner: Deed) -> Act:
    async def act(scene: OneVm) -> Finding:
        told: list[str] = []

        async def other() -> None:
            told.append(await inner(scene.outside, scene.lpid))

        scene.played.answers(ultracall, meanwhile(other), lpid=scene.lpid)
        code = await outer(scene.outside, scene.lpid)
        good = "OK" if outer in {_plug, _destroy} else GOOD
        return found(f"{BUSY} during {good}", f"{', '.join(told)} during {code}")

    return act


async def _act_unmap_on_offer(scene: OneVm) -> Finding:
    """Unmap a page while it is on offer: UV_PAGE_INVAL comes once the offer is answered, and not before."""
    outside, lpid = scene.outside, scene.lpid
    number = outside.number
    unmapping: list[asyncio.Task[str]] = []

    async def unmap() -> None:
        unmapping.append(asyncio.create_task(outside.unmap(lpid, 0)))
        await asyncio.wait(unmapping, timeout=A_MOMENT)

    async def look(_: OneVm) -> str:
        return "withdrawn early" if "UV_PAGE_INVAL" in scene.sent_since(number) else "not withdrawn early"

    early: list[str] = []

    async def deed() -> None:
        await unmap()
        early.append(await look(scene))

    scene.played.answers("UV_PAGE_IN", meanwhile(deed, honestly), lpid=lpid)
    told = [await deeds.share(outside, lpid)]
    told += early
    told += [await each for each in unmapping]
    told.append(", ".join(scene.sent_since(number)))
    return found(f"{GOOD}, not withdrawn early, OK, UV_PAGE_IN, UV_PAGE_INVAL", ", ".join(told))
