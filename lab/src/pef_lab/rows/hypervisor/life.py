"""The life of a VM, and of a GFN, at a Hypervisor: the two tables, and a row for each cell.

Source: specification of the Hypervisor, sections 2 and 3; decisions, "INIT_START twice", "H_SVM_INIT_ABORT".
"""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from pef_lab.rows.hypervisor import deeds
from pef_lab.rows.hypervisor.deeds import REFUSED, RUNS, Deed
from pef_lab.rows.hypervisor.one_vm import OneVm
from pef_lab.rows.hypervisor.outside import Outside
from pef_lab.rows.hypervisor.scene import vm_of
from pef_lab.rows.hypervisor.seen import letter_of, life_of
from pef_lab.rows.hypervisor.vms import ONE_PAGE, Letter, Life, VmPlan, destroyed, made
from pef_lab.rows.row import Finding, Kind, Level, Row
from pef_lab.rows.stage import Stage
from pef_lab.rows.subject import Evidence, Subject

NORMAL, TRANSIENT, SECURE = Life.NORMAL, Life.TRANSIENT, Life.SECURE
ALONE: Final = frozenset({Subject.HYPERVISOR})
EITHER_WAY: Final = ALONE | {Subject.PAIR}


class Cell(NamedTuple):
    """What an event does to a VM: its code and the state after it; `asks`: also where nothing changes."""

    code: str
    then: Life
    asks: str = ""


VM_EVENTS: Final[Mapping[str, Deed]] = {
    "start-vm": deeds.start_vm,
    "init-start": deeds.init_start,
    "init-done": deeds.init_done,
    "init-abort": deeds.init_abort,
    "uv-svm-terminate": deeds.reset,
}
"""A VM starts where its load resolves; a reset makes the Hypervisor send UV_SVM_TERMINATE."""
VM_LIFE: Final[Mapping[Life, Mapping[str, Cell]]] = {
    NORMAL: {
        "start-vm": Cell(RUNS, NORMAL),
        "init-start": Cell("H_SUCCESS", TRANSIENT),
        "init-done": Cell("H_UNSUPPORTED", NORMAL),
        "init-abort": Cell("H_UNSUPPORTED", NORMAL),
        "uv-svm-terminate": Cell("OK", NORMAL, "UV_SVM_TERMINATE"),
    },
    SECURE: {
        "start-vm": Cell(REFUSED, SECURE),
        "init-start": Cell("H_STATE", SECURE),
        "init-done": Cell("H_STATE", SECURE),
        "init-abort": Cell("H_STATE", SECURE),
        "uv-svm-terminate": Cell("OK", NORMAL),
    },
    TRANSIENT: {
        "start-vm": Cell(REFUSED, TRANSIENT),
        "init-start": Cell("H_STATE", TRANSIENT),
        "init-done": Cell("H_SUCCESS", SECURE),
        "init-abort": Cell("H_PARAMETER", NORMAL),
        "uv-svm-terminate": Cell("OK", NORMAL),
    },
}
NOT_APPLICABLE: Final = frozenset({(TRANSIENT, "start-vm")})
"""The document has no word for it: what is seen is kept, not judged."""
NEEDS_US: Final = frozenset({(NORMAL, "init-start")})
"""Cells of a VM that is not transient for which the Ultravisor has to be ours."""

N, S, H = Letter.N, Letter.S, Letter.H
GFN_LIFE: Final[Mapping[Letter, Mapping[str, Letter]]] = {
    S: {"share": H, "unshare": S, "abort-or-terminate": N, "init-done": S},
    H: {"share": H, "unshare": S, "abort-or-terminate": N, "init-done": H},
    N: {"share": H, "unshare": S, "abort-or-terminate": N, "init-done": S},
}


def rows() -> Iterator[Row]:
    """Yield a row for each cell of both tables."""
    for life, events in VM_LIFE.items():
        for name, cell in events.items():
            yield _vm_row(life, name, cell)
    for letter, steps in GFN_LIFE.items():
        for name, then in steps.items():
            yield _gfn_row(letter, name, then)


def _vm_row(life: Life, name: str, cell: Cell) -> Row:
    async def play(stage: Stage) -> Finding:
        outside = Outside(stage)
        scene = OneVm(outside, await vm_of(outside, VmPlan(life)))
        try:
            return await _lives(stage, scene, VM_EVENTS[name], cell)
        finally:
            await scene.strike()

    alone = life is TRANSIENT or (life, name) in NEEDS_US
    level = Level.EITHER if (life, name) in NOT_APPLICABLE else Level.MUST
    of = ALONE if alone else EITHER_WAY
    return Row(f"vm/{life}/{name}", Kind.VM_LIFE, "VM", f"a {life} VM, {name}", of, play, level)


async def _lives(stage: Stage, scene: OneVm, deed: Deed, cell: Cell) -> Finding:
    """Let an event happen to a VM; one that is an error must change nothing."""
    outside, lpid = scene.outside, scene.vm.lpid
    stays = cell.then is scene.vm.plan.life
    before, number = await stage.look(scene), outside.number
    code = await deed(outside, lpid)
    sent = [heard.name for heard in outside.heard_since(number, lpid) if heard.name != cell.asks]
    after = await stage.look(scene) if stays else before
    then = cell.then if stays and before.evidence is Evidence.INFERRED else await life_of(outside, lpid)
    observed = [code, f"then {then}"]
    if stays:
        observed += [", and something changed"] if after != before else []
        observed += [f"sent {', '.join(sent)}"] if sent else []
    expected = f"{cell.code}; then {cell.then}"
    told = "; ".join(observed)
    return Finding(expected, told, told == expected, before.evidence if stays else None)


GFN_EVENTS: Final[Mapping[str, tuple[Deed, ...]]] = {
    "share": (deeds.share,),
    "unshare": (deeds.page_in,),
    "abort-or-terminate": (deeds.init_abort, deeds.reset),
    "init-done": (deeds.init_done,),
}
"""What may happen, each in a VM of its own."""


def _gfn_row(letter: Letter, name: str, then: Letter) -> Row:
    async def play(stage: Stage) -> Finding:
        outside = Outside(stage)
        seen = []
        for deed in GFN_EVENTS[name]:
            vm = await made(outside, VmPlan(TRANSIENT, slots=ONE_PAGE, gfns={0: letter}))
            try:
                code = await deed(outside, vm.lpid)
                seen.append((code, await letter_of(outside, vm.lpid, 0)))
            finally:
                await destroyed(outside, [vm])
        observed = ", ".join(f"{state} by {code}" for code, state in seen)
        return Finding(f"{then}", observed, all(state == then for _, state in seen))

    place = f"life/{letter.value.lower()}/{name}"
    return Row(place, Kind.GFN_LIFE, "GFN", f"a {letter} GFN, {name}", ALONE, play)
