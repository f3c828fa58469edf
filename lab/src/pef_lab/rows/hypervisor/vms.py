"""VMs of a Hypervisor, brought into each state that a row needs. Real Ultravisor or played one: see `made`.

| life | how it came there |
|---|---|
| NORMAL | created, given memory |
| TRANSIENT | H_SVM_INIT_START; needs us as the Ultravisor |
| SECURE | H_SVM_INIT_DONE as well; on a pair by UV_ESM |
| FAILED | H_SVM_INIT_START, and a slot could not be registered |
| DENIED | H_SVM_INIT_START, and secure guests are not enabled for it |
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from pef_lab.rows.hypervisor.outside import Outside, must
from pef_lab.rows.playing.ultravisor import refuse
from pef_lab.rows.subject import Subject
from pef_protocol.codes import UCode
from pef_protocol.designs import Design
from pef_protocol.hypercalls import SvmInitDone, SvmInitStart
from pef_protocol.quantities import PAGE_SIZE, Lpid


class Life(StrEnum):
    """What became of a VM."""

    NORMAL = "normal"
    TRANSIENT = "transient"
    SECURE = "secure"
    FAILED = "failed"
    DENIED = "denied"


class Letter(StrEnum):
    """A GFN's state at a Hypervisor, by its letter; NONE: in no slot."""

    N = "NORMAL"
    S = "SECURE"
    P = "PAGED_OUT"
    H = "SHARED"
    NONE = "no slot"


@dataclass(frozen=True, slots=True)
class SlotPlan:
    """A slot: its id, its first GFN, its pages."""

    slotid: int
    first: int
    pages: int


SOUND: Final = (Design.TRACKED, Design.TRACKED_PAGEIN, Design.PUSHED_FIXED)
"""The designs that keep every promise: each is a way to be a Hypervisor."""
SLOTS: Final = (SlotPlan(5, 0, 8), SlotPlan(2, 8, 8), SlotPlan(9, 32, 8))
"""Two slots that abut and one beyond a gap, their ids in no order."""
ONE_PAGE: Final = (SlotPlan(3, 0, 1),)
EACH: Final[Mapping[int, Letter]] = {0: Letter.N, 1: Letter.S, 2: Letter.P, 3: Letter.H}
"""A GFN of each state; what is not named was never touched."""


@dataclass(frozen=True, slots=True)
class VmPlan:
    """What VM to make. `gfns` are brought into their states after H_SVM_INIT_START, in this order."""

    life: Life = Life.NORMAL
    radix: bool = True
    enabled: bool = True
    design: Design = Design.TRACKED
    slots: tuple[SlotPlan, ...] = SLOTS
    gfns: Mapping[int, Letter] = field(default_factory=lambda: EACH)


@dataclass(frozen=True, slots=True)
class MadeVm:
    """A VM as it was made."""

    lpid: int
    plan: VmPlan

    def gfn(self, letter: Letter) -> int:
        """Return a GFN in that state."""
        return next(gfn for gfn, each in self.plan.gfns.items() if each is letter)


def page_of(lpid: int, gfn: int) -> bytes:
    """Return what the host wrote to a page before anything else happened; another for each page."""
    return f"GFN {gfn:#x} of VM {lpid} ".encode().ljust(64, b".") * (PAGE_SIZE // 64)


async def created(outside: Outside, plan: VmPlan) -> MadeVm:
    """Create a normal VM with memory, and write its named GFNs."""
    lpid = await outside.create(plan.design, secure_guest=plan.enabled, radix=plan.radix)
    vm = MadeVm(lpid, plan)
    for slot in plan.slots:
        must("a slot is added", await outside.plug(lpid, slot.slotid, slot.first, slot.pages))
    for gfn in plan.gfns:
        must("the host writes", await outside.write(lpid, gfn, page_of(lpid, gfn)))
    return vm


async def made(outside: Outside, plan: VmPlan) -> MadeVm:
    """Make a VM where the Ultravisor is ours; raise NoScene where the Hypervisor does not let it be made."""
    vm = await created(outside, plan)
    if plan.life is Life.NORMAL:
        return vm
    if outside.stage.subject is not Subject.PAIR:
        outside.played.begin(vm.lpid)
    if plan.life is Life.FAILED and outside.stage.subject is not Subject.PAIR:
        outside.played.answers("UV_REGISTER_MEM_SLOT", refuse(UCode.U_P3), lpid=vm.lpid)
    wanted = {Life.FAILED: "H_PARAMETER", Life.DENIED: "H_AUTHORITY"}.get(plan.life, "H_SUCCESS")
    answer = await outside.hypercall(SvmInitStart(Lpid(vm.lpid)))
    must("H_SVM_INIT_START", answer.code, wanted)
    if plan.life in {Life.TRANSIENT, Life.SECURE}:
        await bring(outside, vm.lpid, plan.gfns)
    if plan.life is Life.SECURE:
        must("H_SVM_INIT_DONE", (await outside.hypercall(SvmInitDone(Lpid(vm.lpid)))).code, "H_SUCCESS")
    return vm


async def bring(outside: Outside, lpid: int, gfns: Mapping[int, Letter]) -> None:
    """Bring GFNs of a started VM into their states."""

    def those(*letters: Letter) -> list[int]:
        return [gfn for gfn, letter in gfns.items() if letter in letters]

    steps = (
        ("H_SVM_PAGE_IN", outside.page_in, those(Letter.S, Letter.P)),
        ("H_SVM_PAGE_OUT", outside.page_out, those(Letter.P)),
        ("H_SVM_PAGE_IN shared", outside.share, those(Letter.H)),
    )
    for name, call, chosen in steps:
        if chosen:
            must(name, (await call(lpid, *chosen)).code, "H_SUCCESS")


async def destroyed(outside: Outside, vms: Iterable[MadeVm]) -> None:
    """Destroy VMs, whatever has become of them."""
    for vm in vms:
        await outside.destroy(vm.lpid)
