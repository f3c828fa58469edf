"""The five hypercalls as they should be: what each sends, what it leaves, and where the bytes are then.

Source: specification of the Hypervisor, sections 4 to 6; `pef_protocol.calls.Reply`.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final

from pef_lab.rows.hypervisor import deeds
from pef_lab.rows.hypervisor.deeds import BAD, GOOD, RUNS
from pef_lab.rows.hypervisor.one_vm import OneVm, found, row_in_vm
from pef_lab.rows.hypervisor.seen import AS_WRITTEN, SEALED, ZERO, host_sees, letter_of, life_of
from pef_lab.rows.hypervisor.vms import SLOTS, SOUND, Letter, Life, SlotPlan, VmPlan, page_of
from pef_lab.rows.playing.normal_memory import read_normal
from pef_lab.rows.playing.pages import BLANK
from pef_lab.rows.row import Finding, Kind, Row
from pef_protocol.http import RUNS_IN_JSON
from pef_protocol.hypercalls import SvmInitStart, SvmPageIn
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, Lpid, gpa_of
from pef_protocol.runs import PageRuns

N, S, P, H = Letter.N, Letter.S, Letter.P, Letter.H
TRANSIENT: Final = Life.TRANSIENT


def rows() -> Iterator[Row]:
    """Yield a row for each way in which a hypercall succeeds."""
    for design in SOUND:
        yield row_in_vm(
            f"hv/init-start/success:{design}",
            Kind.SUCCESS,
            "H_SVM_INIT_START",
            "H_SVM_INIT_START registers every slot, by descending base, and tells the design",
            VmPlan(design=design, gfns={0: N}),
            _act_start,
        )
    for place, (call, clause, plan, act) in ROWS.items():
        yield row_in_vm(f"hv/{place}", Kind.SUCCESS, call, clause, plan, act)


async def _act_start(scene: OneVm) -> Finding:
    scene.played.begin(scene.lpid)
    number = scene.outside.number
    answer = await scene.outside.hypercall(SvmInitStart(Lpid(scene.lpid)))
    told = [_told(heard.request) for heard in scene.outside.heard_since(number, scene.lpid)]
    design = scene.vm.plan.design
    slots = sorted(SLOTS, key=lambda slot: slot.first, reverse=True)
    wanted = [(slot.slotid, gpa_of(slot.first), slot.pages * PAGE_SIZE, 0) for slot in slots]
    refused = await deeds.start_vm(scene.outside, scene.lpid)
    return found(
        f"{GOOD}, {design.value}; {wanted}; {deeds.REFUSED}",
        f"{answer.code}, {answer.outputs.get('design')}; {told}; {refused}",
    )


def _told(request: Any) -> tuple[int, ...] | str:
    names = ("slotid", "start_gpa", "size", "flags")
    return tuple(getattr(request, name, -1) for name in names)


async def _act_page_in(scene: OneVm) -> Finding:
    """Bring three pages, two of which are neighbours: one message, their bytes, and nothing left behind."""
    gfns, outside = (0, 1, 5), scene.outside
    number = outside.number
    answer = await outside.page_in(scene.lpid, *gfns)
    heard = outside.heard_since(number, scene.lpid)
    kept = [scene.holds(gfn) == page_of(scene.lpid, gfn) for gfn in gfns]
    runs = [run for each in heard for run in each.request.runs]
    pieces = [(ra, pages * PAGE_SIZE) for ra, _, pages in runs]
    left = await read_normal(outside.doors, *pieces) if pieces else b""
    scrubbed = left == BLANK * len(gfns)
    expected = f"{GOOD}; UV_PAGE_IN; [True, True, True]; normal pages are zero: True"
    names = ", ".join(each.name for each in heard)
    return found(expected, f"{answer.code}; {names}; {kept}; normal pages are zero: {scrubbed}")


async def _act_untouched(scene: OneVm) -> Finding:
    number = scene.outside.number
    answer = await scene.outside.page_in(scene.lpid, 4)
    sent = scene.sent_since(number)
    letter = await letter_of(scene.outside, scene.lpid, 4)
    return found(
        f"{GOOD}; nothing sent; {S}", f"{answer.code}; {', '.join(sent) or 'nothing'} sent; {letter}"
    )


async def _act_back(scene: OneVm) -> Finding:
    """Page a page out and in again: what was sealed comes back as it was."""
    number = scene.outside.number
    told = [await deeds.page_out(scene.outside, scene.lpid), ", ".join(scene.sent_since(number))]
    told.append(await host_sees(scene.outside, scene.lpid, 0))
    told.append(await deeds.page_in(scene.outside, scene.lpid))
    told.append("as it was" if scene.holds(0) == page_of(scene.lpid, 0) else "other bytes")
    return found(f"{GOOD}, UV_PAGE_OUT, {SEALED}, {GOOD}, as it was", ", ".join(told))


async def _act_shared(scene: OneVm) -> Finding:
    """Share a page that is secure: a fresh page is offered, and the host reads it; then take it back."""
    told = [await deeds.share(scene.outside, scene.lpid), await host_sees(scene.outside, scene.lpid, 0)]
    number = scene.outside.number
    told.append(await deeds.page_in(scene.outside, scene.lpid))
    told.append(", ".join(scene.sent_since(number)))
    told.append(await letter_of(scene.outside, scene.lpid, 0))
    return found(f"{GOOD}, {ZERO}, {GOOD}, UV_PAGE_IN, {S}", ", ".join(told))


async def _act_brought_back(scene: OneVm) -> Finding:
    """Have the host unmap a shared page; the next H_SVM_PAGE_IN brings it back with what it held."""
    outside, lpid = scene.outside, scene.lpid
    number = outside.number
    told = [await outside.write(lpid, 0, page_of(lpid, 0)), await outside.unmap(lpid, 0)]
    told.append(await deeds.share(outside, lpid))
    told += [*scene.sent_since(number), await host_sees(outside, lpid, 0)]
    return found(f"OK, OK, {GOOD}, UV_PAGE_INVAL, UV_PAGE_IN, {AS_WRITTEN}", ", ".join(told))


async def _act_many(scene: OneVm) -> Finding:
    """Ask for so many runs that they travel as octets."""
    pages = 2 * RUNS_IN_JSON
    runs = PageRuns.of(*((gpa_of(64 + gfn), 1) for gfn in range(0, 2 * pages, 2)))
    answer = await scene.outside.hypercall(SvmPageIn(Lpid(scene.lpid), runs, 0, PAGE_ORDER))
    some = [await letter_of(scene.outside, scene.lpid, 64 + gfn) for gfn in (0, 1, 2 * pages - 2)]
    return found(
        f"{GOOD}; 0 refused; {S}, {N}, {S}",
        f"{answer.code}; {len(answer.refused)} refused; {', '.join(some)}",
    )


async def _act_done(scene: OneVm) -> Finding:
    number = scene.outside.number
    told = [
        await deeds.init_done(scene.outside, scene.lpid),
        ", ".join(scene.sent_since(number)) or "nothing",
    ]
    told.append(await host_sees(scene.outside, scene.lpid, 0))
    told.append(await life_of(scene.outside, scene.lpid))
    return found(f"{GOOD}, nothing, {SEALED}, {Life.SECURE}", ", ".join(told))


async def _act_abort(scene: OneVm) -> Finding:
    """Abort: the VM runs, and loads each page as it was imported; the SVM is ended."""
    told = [
        await deeds.init_abort(scene.outside, scene.lpid),
        await deeds.start_vm(scene.outside, scene.lpid),
    ]
    kept = [gfn for gfn, letter in scene.vm.plan.gfns.items() if letter is not H]
    for gfn in kept:
        loaded = await scene.outside.load(scene.lpid, gfn)
        told.append(AS_WRITTEN if loaded == page_of(scene.lpid, gfn) else "other bytes")
    told.append("ended" if scene.played.svm(scene.lpid) is None else "not ended")
    return found(", ".join([BAD, RUNS, *[AS_WRITTEN] * len(kept), "ended"]), ", ".join(told))


IN, OUT = "H_SVM_PAGE_IN", "H_SVM_PAGE_OUT"
THREE: Final = {0: N, 1: N, 5: N, 6: N}
LARGE: Final = (SlotPlan(1, 64, 4 * RUNS_IN_JSON),)

ROWS: Final[Mapping[str, tuple[str, str, VmPlan, Callable[[OneVm], Awaitable[Finding]]]]] = {
    "page-in/success": (
        IN,
        "one UV_PAGE_IN carries all pages; their normal pages are scrubbed",
        VmPlan(TRANSIENT, gfns=THREE),
        _act_page_in,
    ),
    "page-in/success:untouched": (
        IN,
        "a page that was never touched is moved without UV_PAGE_IN",
        VmPlan(TRANSIENT, gfns={0: N}),
        _act_untouched,
    ),
    "page-in/success:shared": (
        IN,
        "a secure page that is shared is replaced by a fresh one, and goes back by UV_PAGE_IN",
        VmPlan(TRANSIENT, gfns={0: S}),
        _act_shared,
    ),
    "page-in/success:brought-back": (
        IN,
        "a shared page that was unmapped is brought back by UV_PAGE_IN",
        VmPlan(TRANSIENT, gfns={0: H}),
        _act_brought_back,
    ),
    "page-in/success:many-runs": (
        IN,
        "runs that travel as octets are runs as others are",
        VmPlan(TRANSIENT, slots=LARGE, gfns={}),
        _act_many,
    ),
    "page-out/success": (
        OUT,
        "a page goes out sealed, and comes back as it was",
        VmPlan(TRANSIENT, gfns={0: S}),
        _act_back,
    ),
    "page-out/success:secure": (
        OUT,
        "a page of a secure VM goes out sealed, and comes back as it was",
        VmPlan(Life.SECURE, gfns={0: S}),
        _act_back,
    ),
    "init-done/success": (
        "H_SVM_INIT_DONE",
        "left-over GFNs are secured with no ultracall; what they held is gone",
        VmPlan(TRANSIENT, gfns={0: N, 1: S}),
        _act_done,
    ),
    "init-abort/success": (
        "H_SVM_INIT_ABORT",
        "the VM has its memory in clear, exactly as it was imported",
        VmPlan(TRANSIENT),
        _act_abort,
    ),
}
"""Rows by what follows `hv/`: call, clause, the VM, what is done."""
