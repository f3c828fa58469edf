"""What the Ultravisor refuses, or does not answer, costs a Hypervisor nothing: the codes after the ladders.

A refused page stays what it was, its contents with it, and what was refused can be asked for again.

Source: specification of the Hypervisor, sections 4, 5 and 7 (K1, K2, K4, K5, K6); decisions,
"H_SVM_INIT_ABORT", "INIT_START that failed".
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Final

from pef_lab.rows.hypervisor import deeds
from pef_lab.rows.hypervisor.deeds import BAD, BUSY, GOOD, REFUSED, STATE, Deed
from pef_lab.rows.hypervisor.no_room import no_room
from pef_lab.rows.hypervisor.one_vm import OneVm, changed, found, row_in_vm
from pef_lab.rows.hypervisor.seen import (
    AS_WRITTEN,
    ZERO,
    gfn_seen,
    host_sees,
    letter_of,
    life_of,
    paging_since,
)
from pef_lab.rows.hypervisor.vms import ONE_PAGE, SLOTS, Letter, Life, VmPlan
from pef_lab.rows.playing.ultravisor import honestly, refuse, refuse_gfns, silence
from pef_lab.rows.row import Finding, Kind, Row
from pef_protocol.calls import CALLS
from pef_protocol.codes import UCode
from pef_protocol.designs import Design
from pef_protocol.hypercalls import SvmInitAbort, SvmInitDone, SvmInitStart
from pef_protocol.quantities import Lpid

N, S, P, H = Letter.N, Letter.S, Letter.P, Letter.H


MOVES: Final[Mapping[str, tuple[str, Deed, str, tuple[Letter, ...]]]] = {
    "page-in": ("H_SVM_PAGE_IN", deeds.page_in, "UV_PAGE_IN", (N, P, H)),
    "share": ("H_SVM_PAGE_IN", deeds.share, "UV_PAGE_IN", (N, S, P, H)),
    "page-out": ("H_SVM_PAGE_OUT", deeds.page_out, "UV_PAGE_OUT", (S,)),
}
"""What moves a GFN: the hypercall, the deed, the ultracall that it takes, and from which states."""
NOT_AMONG: Final = frozenset({UCode.U_BUSY, UCode.U_PARAMETER})
"""Busy is tried again; U_PARAMETER of a page-out may mean that the page is out already."""


def rows() -> Iterator[Row]:
    """Yield the rows of what is refused after the ladder."""
    yield from _refused_moves()
    yield from _start_rows()
    yield from _done_rows()
    yield from _abort_rows()


def _refused_moves() -> Iterator[Row]:
    for name, (call, deed, ultracall, letters) in MOVES.items():
        codes = {rung.code for rung in CALLS[ultracall].check_order} | set(CALLS[ultracall].later)
        for letter in letters:
            plan = VmPlan(Life.TRANSIENT, slots=ONE_PAGE, gfns={0: letter})
            where = f"{name}-{letter.name}"
            for code in sorted(codes - NOT_AMONG):
                yield row_in_vm(
                    f"hv/refused/{where}:{code.name}",
                    Kind.CODE,
                    call,
                    f"{name} of a {letter} GFN whose {ultracall} is refused changes nothing",
                    plan,
                    _act_refused(deed, ultracall, UCode(code)),
                )
            if letter is not P:
                yield row_in_vm(
                    f"hv/refused/{where}:silence",
                    Kind.CODE,
                    call,
                    f"{name} of a {letter} GFN whose {ultracall} has no outcome leaves its state",
                    plan,
                    _act_silent(deed, ultracall, letter),
                )


def _act_refused(deed: Deed, ultracall: str, code: UCode) -> Callable[[OneVm], Awaitable[Finding]]:
    async def act(scene: OneVm) -> Finding:
        scene.played.answers(ultracall, refuse(code), lpid=scene.lpid)
        number = scene.outside.number
        sent: tuple[str, ...] = ()

        async def once() -> str:
            nonlocal sent
            told = await deed(scene.outside, scene.lpid)
            sent = paging_since(scene.outside, number, scene.lpid)
            return told

        told, other, evidence = await changed(scene, once)
        again = await deed(scene.outside, scene.lpid)
        observed = f"{told} after {', '.join(sent)}" + (", and something changed" if other else "")
        return found(f"{BAD} after {ultracall}; again: {GOOD}", f"{observed}; again: {again}", evidence)

    return act


def _act_silent(deed: Deed, ultracall: str, letter: Letter) -> Callable[[OneVm], Awaitable[Finding]]:
    async def act(scene: OneVm) -> Finding:
        scene.played.answers(ultracall, silence, lpid=scene.lpid)
        told = await deed(scene.outside, scene.lpid)
        if scene.outside.doors.can_be_observed:
            then = await letter_of(scene.outside, scene.lpid, 0)
        else:
            then = letter
        again = await deed(scene.outside, scene.lpid)
        return found(f"{BAD}; then {letter}; again: {BUSY}", f"{told}; then {then}; again: {again}")

    return act


def _start_rows() -> Iterator[Row]:
    for place in range(len(SLOTS)):
        for code in (UCode.U_P3, UCode.U_RETRY):
            yield row_in_vm(
                f"hv/init-start/H_PARAMETER/slot-{place + 1}:{code.name}",
                Kind.CODE,
                "H_SVM_INIT_START",
                "H_SVM_INIT_START takes back the slots that it made, and waits for H_SVM_INIT_ABORT",
                VmPlan(gfns={0: N}),
                _act_failed_start(place, code),
            )


def _act_failed_start(place: int, code: UCode) -> Callable[[OneVm], Awaitable[Finding]]:
    async def act(scene: OneVm) -> Finding:
        lpid, played = Lpid(scene.lpid), scene.played
        svm = played.begin(scene.lpid)
        played.answers("UV_REGISTER_MEM_SLOT", *[honestly] * place, refuse(code), lpid=scene.lpid)
        before = await scene.outside.stage.look(scene)
        told = [(await scene.outside.hypercall(SvmInitStart(lpid))).code]
        left = len(svm.slots)
        told.append((await scene.outside.hypercall(SvmInitStart(lpid))).code)
        told.append((await scene.outside.hypercall(SvmInitDone(lpid))).code)
        told.append(await deeds.page_in(scene.outside, scene.lpid))
        told.append((await scene.outside.hypercall(SvmInitAbort(lpid))).code)
        after = await scene.outside.stage.look(scene)
        same = "as before" if after == before else "not as before"
        expected = f"{BAD}, {STATE}, {STATE}, H_UNSUPPORTED, {BAD}; 0 slots left; as before"
        return found(expected, f"{', '.join(told)}; {left} slots left; {same}", before.evidence)

    return act


def _done_rows() -> Iterator[Row]:
    yield row_in_vm(
        "hv/init-done/H_STATE:no-room",
        Kind.CODE,
        "H_SVM_INIT_DONE",
        "H_SVM_INIT_DONE without a device page is H_STATE, the VM stays transient, and it can be repeated",
        VmPlan(Life.TRANSIENT, slots=ONE_PAGE, gfns={0: N}),
        _act_done_without_room,
    )
    yield row_in_vm(
        "hv/init-done/H_STATE:refused",
        Kind.CODE,
        "H_SVM_INIT_DONE",
        "H_SVM_INIT_DONE whose UV_PAGE_IN is refused is H_STATE: what moved stays so; it can be repeated",
        VmPlan(Life.TRANSIENT, design=Design.TRACKED_PAGEIN, gfns={0: N, 1: N, 2: N}),
        _act_done_refused,
    )


async def _act_done_without_room(scene: OneVm) -> Finding:
    async with no_room(scene.outside):
        told = [await deeds.init_done(scene.outside, scene.lpid)]
        told.append(await deeds.start_vm(scene.outside, scene.lpid))
    told.append(await deeds.init_done(scene.outside, scene.lpid))
    return found(f"{STATE}, {REFUSED}, {GOOD}", ", ".join(told))


async def _act_done_refused(scene: OneVm) -> Finding:
    scene.played.answers("UV_PAGE_IN", refuse_gfns(UCode.U_P3, 1), lpid=scene.lpid)
    told = [await deeds.init_done(scene.outside, scene.lpid)]
    if scene.outside.doors.can_be_observed:
        told += [await letter_of(scene.outside, scene.lpid, gfn) for gfn in range(3)]
    else:
        told += [S, N, S]
    told.append(await deeds.init_done(scene.outside, scene.lpid))
    return found(f"{STATE}, {S}, {N}, {S}, {GOOD}", ", ".join(told))


def _abort_rows() -> Iterator[Row]:
    plans: Mapping[str, tuple[VmPlan, Callable[[OneVm], Awaitable[Finding]], str]] = {
        "H_STATE:not-ended": (
            VmPlan(Life.TRANSIENT, slots=ONE_PAGE, gfns={0: S}),
            _act_not_ended,
            "an SVM that can't be ended keeps its VM from running; the call can be repeated",
        ),
        "H_STATE:silence": (
            VmPlan(Life.TRANSIENT, slots=ONE_PAGE, gfns={0: S}),
            _act_unanswered,
            "after a UV_PAGE_OUT that has no outcome the VM can only be reset",
        ),
        "H_PARAMETER:lost-S": (
            VmPlan(Life.TRANSIENT, gfns={0: S, 1: S}),
            _act_lost("UV_PAGE_OUT", UCode.U_STATE),
            "a page that is refused reads as zero; no secure page stays in a normal VM",
        ),
        "H_PARAMETER:lost-P": (
            VmPlan(Life.TRANSIENT, gfns={0: P, 1: P}),
            _act_lost("UV_PAGE_IN", UCode.U_P3),
            "a page that can't be decrypted reads as zero; no ciphertext stays in a normal VM",
        ),
        "H_PARAMETER:denied": (
            VmPlan(Life.DENIED, enabled=False, gfns={0: N}),
            _act_denied,
            "after a denied H_SVM_INIT_START it is accepted, once",
        ),
    }
    for name, (plan, act, clause) in plans.items():
        place = f"hv/init-abort/{name}"
        yield row_in_vm(place, Kind.CODE, "H_SVM_INIT_ABORT", f"H_SVM_INIT_ABORT: {clause}", plan, act)


async def _act_not_ended(scene: OneVm) -> Finding:
    scene.played.answers("UV_SVM_TERMINATE", refuse(UCode.U_PERMISSION), lpid=scene.lpid)
    return await _twice(scene)


async def _act_unanswered(scene: OneVm) -> Finding:
    scene.played.answers("UV_PAGE_OUT", silence, lpid=scene.lpid)
    return await _twice(scene, BUSY, "EIO")


async def _twice(scene: OneVm, again: str = BAD, seen: str = AS_WRITTEN) -> Finding:
    told = [await deeds.init_abort(scene.outside, scene.lpid)]
    told.append(await deeds.start_vm(scene.outside, scene.lpid))
    told.append(await deeds.init_abort(scene.outside, scene.lpid))
    told.append(await host_sees(scene.outside, scene.lpid, 0))
    return found(f"{STATE}, {REFUSED}, {again}, {seen}", ", ".join(told))


def _act_lost(ultracall: str, code: UCode) -> Callable[[OneVm], Awaitable[Finding]]:
    async def act(scene: OneVm) -> Finding:
        scene.played.answers(ultracall, refuse_gfns(code, 1), lpid=scene.lpid)
        told = [await deeds.init_abort(scene.outside, scene.lpid), await life_of(scene.outside, scene.lpid)]
        seen = [await gfn_seen(scene.outside, scene.lpid, gfn) for gfn in (0, 1)]
        told += [f"{kind} in {letter}" for letter, kind in seen]
        expected = f"{BAD}, {Life.NORMAL}, {AS_WRITTEN} in {N}, {ZERO} in {N}"
        return found(expected, ", ".join(told))

    return act


async def _act_denied(scene: OneVm) -> Finding:
    told = [
        await deeds.init_abort(scene.outside, scene.lpid),
        await deeds.init_abort(scene.outside, scene.lpid),
        await life_of(scene.outside, scene.lpid),
    ]
    return found(f"{BAD}, H_UNSUPPORTED, {Life.NORMAL}", ", ".join(told))
