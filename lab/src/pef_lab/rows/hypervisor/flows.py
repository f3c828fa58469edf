"""What a Hypervisor sends for a whole VM, in which order, and what is left of it when something is refused.

Source: specification of the Hypervisor, section 6, and section 7 (K7, K9, K11); decisions, "slot calls".
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Final, TypeAlias

from pef_lab.rows.hypervisor import deeds
from pef_lab.rows.hypervisor.deeds import RUNS, Deed
from pef_lab.rows.hypervisor.one_vm import OneVm, changed, found, row_in_vm
from pef_lab.rows.hypervisor.outside import Outside
from pef_lab.rows.hypervisor.seen import AS_WRITTEN, host_sees, letter_of, life_of
from pef_lab.rows.hypervisor.vms import EACH, ONE_PAGE, SLOTS, SOUND, Letter, Life, VmPlan, bring
from pef_lab.rows.playing.ultravisor import Answer, refuse, silence
from pef_lab.rows.row import Finding, Kind, Row
from pef_protocol.codes import UCode
from pef_protocol.quantities import PAGE_SIZE, gpa_of

Act: TypeAlias = Callable[[OneVm], Awaitable[Finding]]
N, S, P, H, NONE = Letter.N, Letter.S, Letter.P, Letter.H, Letter.NONE
END, ENTRY = "UV_SVM_TERMINATE", "UV_WRITE_PATE"
UNREGISTER: Final = "UV_UNREGISTER_MEM_SLOT"
LIVES: Final = (Life.NORMAL, Life.TRANSIENT, Life.SECURE)
RESET: Final[Mapping[Life, tuple[str, ...]]] = {
    Life.NORMAL: (END,),
    Life.TRANSIENT: (*[UNREGISTER] * len(SLOTS), END, ENTRY),
    Life.SECURE: (*[UNREGISTER] * len(SLOTS), END, ENTRY),
}
DESTROY: Final[Mapping[Life, tuple[str, ...]]] = {
    Life.NORMAL: (END, ENTRY),
    Life.TRANSIENT: (END, ENTRY),
    Life.SECURE: (END, ENTRY),
}
"""What is sent, by the VM's life before it."""
CYCLES: Final = 3
NEW: Final = (17, 64, 4)
"""A slot to be plugged in: its id, its first GFN, its pages."""


def rows() -> Iterator[Row]:
    """Yield the rows of whole-VM flows."""
    for life in LIVES:
        for name, deed, sent in (("reset", deeds.reset, RESET), ("destroy", _destroy, DESTROY)):
            yield row_in_vm(
                f"flow/{name}/{life}",
                Kind.SUCCESS,
                "VMM",
                f"{name} of a {life} VM sends {', '.join(sent[life]) or 'nothing'}",
                VmPlan(life),
                _act_sends(deed, sent[life]),
            )
    for name, way in {"init-abort": deeds.init_abort, "reset": deeds.reset}.items():
        for design in SOUND:
            yield row_in_vm(
                f"flow/cycles/{name}:{design}",
                Kind.SUCCESS,
                "VM",
                f"H_SVM_INIT_START and {name}, again and again, leave nothing behind",
                VmPlan(design=design, gfns=dict.fromkeys(EACH, N)),
                _act_cycles(way),
            )
    for name, (clause, plan, act) in ROWS.items():
        kind = Kind.CODE if ":" in name else Kind.SUCCESS
        yield row_in_vm(f"flow/{name}", kind, "VMM", clause, plan, act)


async def _destroy(outside: Outside, lpid: int) -> str:
    return await outside.destroy(lpid)


def _act_sends(deed: Deed, wanted: tuple[str, ...]) -> Act:
    async def act(scene: OneVm) -> Finding:
        number = scene.outside.number
        code = await deed(scene.outside, scene.lpid)
        entry = [
            (heard.request.dw0, heard.request.dw1) == (0, 0)
            for heard in scene.outside.heard_since(number, scene.lpid)
            if heard.name == ENTRY
        ]
        told = f"{code}; {', '.join(scene.sent_since(number))}; entry empty: {entry}"
        empty = [deed is _destroy] if ENTRY in wanted else []
        return found(f"OK; {', '.join(wanted)}; entry empty: {empty}", told)

    return act


def _act_cycles(way: Deed) -> Act:
    async def act(scene: OneVm) -> Finding:
        outside, lpid = scene.outside, scene.lpid
        looks = []
        told = set()
        for _ in range(CYCLES):
            number = outside.number
            await deeds.init_start(outside, lpid)
            registered = scene.sent_since(number).count("UV_REGISTER_MEM_SLOT")
            await bring(outside, lpid, EACH)
            await way(outside, lpid)
            told.add((registered, await deeds.start_vm(outside, lpid), scene.played.svm(lpid) is None))
            for gfn in EACH:
                await outside.write(lpid, gfn, b"again")
            looks.append(await outside.stage.look(scene))
        same = "the same each time" if len(set(looks)) == 1 else "another each time"
        wanted = {(len(SLOTS), RUNS, True)}
        return found(f"{wanted}; the same each time", f"{told}; {same}", looks[0].evidence)

    return act


async def _act_created(scene: OneVm) -> Finding:
    number = scene.outside.number
    lpid = await scene.outside.create()
    heard = scene.outside.heard_since(number, lpid)
    await scene.outside.destroy(lpid)
    entries = [(each.name, (each.request.dw0, each.request.dw1) != (0, 0)) for each in heard]
    return found(f"{[(ENTRY, True)]}", f"{entries}")


async def _act_plugged(scene: OneVm) -> Finding:
    number = scene.outside.number
    told = [await scene.outside.plug(scene.lpid, *NEW)]
    told += [
        f"{heard.name} {heard.request.slotid} {heard.request.start_gpa:#x} {heard.request.size:#x}"
        for heard in scene.outside.heard_since(number, scene.lpid)
    ]
    told.append(await letter_of(scene.outside, scene.lpid, NEW[1]))
    slotid, first, pages = NEW
    sent = f"UV_REGISTER_MEM_SLOT {slotid} {gpa_of(first):#x} {pages * PAGE_SIZE:#x}"
    return found(f"OK, {sent}, {S}", ", ".join(told))


async def _act_plug_unanswered(scene: OneVm) -> Finding:
    scene.played.answers("UV_REGISTER_MEM_SLOT", silence, lpid=scene.lpid)
    told = "OK" if await scene.outside.plug(scene.lpid, *NEW) == "OK" else "an error"
    there = await letter_of(scene.outside, scene.lpid, NEW[1])
    again = await scene.outside.plug(scene.lpid, *NEW)
    return found(f"an error; {NONE}; again: EIO", f"{told}; {there}; again: {again}")


def _act_plug_refused(answer: Answer) -> Act:
    async def act(scene: OneVm) -> Finding:
        scene.played.answers("UV_REGISTER_MEM_SLOT", answer, lpid=scene.lpid)

        async def plug() -> str:
            return "OK" if await scene.outside.plug(scene.lpid, *NEW) == "OK" else "an error"

        told, other, evidence = await changed(scene, plug)
        there = await letter_of(scene.outside, scene.lpid, NEW[1])
        again = await scene.outside.plug(scene.lpid, *NEW)
        observed = f"{told}{', and something changed' if other else ''}; {there}; again: {again}"
        return found(f"an error; {NONE}; again: OK", observed, evidence)

    return act


async def _act_unplugged(scene: OneVm) -> Finding:
    number = scene.outside.number
    slot = SLOTS[-1]
    told = [await scene.outside.unplug(scene.lpid, slot.slotid)]
    told += [
        f"{heard.name} {heard.request.slotid}" for heard in scene.outside.heard_since(number, scene.lpid)
    ]
    told.append(await letter_of(scene.outside, scene.lpid, slot.first))
    return found(f"OK, {UNREGISTER} {slot.slotid}, {NONE}", ", ".join(told))


async def _act_unplug_refused(scene: OneVm) -> Finding:
    scene.played.answers(UNREGISTER, refuse(UCode.U_PERMISSION), lpid=scene.lpid)
    slotid = ONE_PAGE[0].slotid

    async def unplug() -> str:
        return "OK" if await scene.outside.unplug(scene.lpid, slotid) == "OK" else "an error"

    told, other, evidence = await changed(scene, unplug)
    again = await scene.outside.unplug(scene.lpid, slotid)
    observed = f"{told}{', and something changed' if other else ''}; again: {again}"
    return found("an error; again: OK", observed, evidence)


async def _act_reset_refused(scene: OneVm) -> Finding:
    """Refuse all of a reset: the VM is what it was; then let it be."""
    for name in (UNREGISTER, END):
        scene.played.answers(name, *[refuse(UCode.U_PERMISSION)] * len(SLOTS), lpid=scene.lpid)

    async def reset() -> str:
        return "OK" if await scene.outside.reset(scene.lpid) == "OK" else "an error"

    told, other, evidence = await changed(scene, reset)
    runs = await deeds.start_vm(scene.outside, scene.lpid)
    scene.played.forget(scene.lpid)
    again = await scene.outside.reset(scene.lpid)
    observed = f"{told}{', and something changed' if other else ''}; {runs}; again: {again}"
    then = await life_of(scene.outside, scene.lpid)
    expected = f"an error; {deeds.REFUSED}; again: OK; {Life.NORMAL}"
    return found(expected, f"{observed}; {then}", evidence)


async def _act_reset_half_done(scene: OneVm) -> Finding:
    """Refuse the end of an SVM whose slots are gone: the VM neither runs nor becomes secure until it ends."""
    outside, lpid = scene.outside, scene.lpid
    scene.played.answers(END, refuse(UCode.U_PERMISSION), lpid=lpid)
    told = ["OK" if await outside.reset(lpid) == "OK" else "an error", await deeds.start_vm(outside, lpid)]
    told += [await deeds.init_done(outside, lpid), await outside.reset(lpid), await life_of(outside, lpid)]
    told.append(await host_sees(outside, lpid, 0))
    expected = ["an error", deeds.REFUSED, deeds.STATE, "OK", Life.NORMAL, "zero"]
    return found(", ".join(expected), ", ".join(told))


async def _act_normal_slots(scene: OneVm) -> Finding:
    """Add and remove slots of a normal VM: the Ultravisor hears nothing of it."""
    number = scene.outside.number
    told = [await scene.outside.plug(scene.lpid, *NEW), await scene.outside.unplug(scene.lpid, NEW[0])]
    told.append(await host_sees(scene.outside, scene.lpid, 0))
    told.append(", ".join(scene.sent_since(number)) or "nothing")
    return found(f"OK, OK, {AS_WRITTEN}, nothing", ", ".join(told))


TRANSIENT, SECURE = Life.TRANSIENT, Life.SECURE
ROWS: Final[Mapping[str, tuple[str, VmPlan, Act]]] = {
    "create": ("the VM's partition-table entry is written", VmPlan(gfns={}), _act_created),
    "slots-of-a-normal-vm": ("nothing is sent for slots of a normal VM", VmPlan(), _act_normal_slots),
    "hot-add": ("a slot is registered as it is", VmPlan(SECURE), _act_plugged),
    "hot-add:refused": (
        "a hot-add that is refused is told, and no slot is left",
        VmPlan(SECURE),
        _act_plug_refused(refuse(UCode.U_RETRY)),
    ),
    "hot-add:refused-in-transient": (
        "a hot-add that is refused is told, and no slot is left",
        VmPlan(TRANSIENT),
        _act_plug_refused(refuse(UCode.U_P3)),
    ),
    "hot-add:silence": (
        "a hot-add that has no outcome is told, no slot is left, and the VM can only be reset",
        VmPlan(SECURE),
        _act_plug_unanswered,
    ),
    "hot-remove": ("pages are dropped, the slot is unregistered", VmPlan(SECURE), _act_unplugged),
    "hot-remove:refused": (
        "a hot-remove that is refused is told, and the slot stays",
        VmPlan(SECURE, slots=ONE_PAGE, gfns={0: S}),
        _act_unplug_refused,
    ),
    "reset:refused": ("a reset that is refused leaves the VM secure", VmPlan(SECURE), _act_reset_refused),
    "reset:half-done": (
        "a reset that is refused at its end leaves a VM that only waits for its end",
        VmPlan(SECURE, slots=ONE_PAGE, gfns={0: S}),
        _act_reset_half_done,
    ),
}
"""Rows by what follows `flow/`: clause, the VM, what is done."""
