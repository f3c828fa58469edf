"""The scene in which hypercalls are refused: a VM of every kind that there can be, side by side.

What a refused hypercall might have changed is looked at by the digest; without one, by what each VM then
answers to calls and reads that change nothing as long as nothing has changed.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final, Self

from pef_lab.rows.hypervisor.outside import Outside, runs_of
from pef_lab.rows.hypervisor.secure_vm import secure_vm
from pef_lab.rows.hypervisor.vms import Letter, Life, MadeVm, VmPlan, destroyed, made
from pef_lab.rows.stage import Stage
from pef_lab.rows.subject import NoScene, Subject
from pef_protocol.hypercalls import SvmInitDone, SvmInitStart, SvmPageOut
from pef_protocol.quantities import PAGE_ORDER, Lpid

KINDS: Final = tuple(
    VmPlan(life, radix=radix, enabled=enabled)
    for life, radix, enabled in (
        (Life.NORMAL, True, True),
        (Life.NORMAL, False, True),
        (Life.NORMAL, True, False),
        (Life.NORMAL, False, False),
        (Life.DENIED, True, False),
        (Life.FAILED, True, True),
        (Life.TRANSIENT, True, True),
        (Life.SECURE, True, True),
    )
)
LIVES: Final = {
    Subject.HYPERVISOR: frozenset(Life),
    Subject.PAIR: frozenset(Life) - {Life.TRANSIENT},
    Subject.BARE_HYPERVISOR: frozenset({Life.NORMAL}),
}
"""The lives that a VM can be brought to on each subject. A real UV_ESM does not stop half way for us."""


async def vm_of(outside: Outside, plan: VmPlan) -> MadeVm:
    """Make a VM after `plan` on whatever subject there is; raise NoScene where it can't be made."""
    if plan.life not in LIVES[outside.stage.subject]:
        raise NoScene(f"there is no VM that is {plan.life} on the {outside.stage.subject}")
    if outside.stage.subject is Subject.PAIR and plan.life is Life.SECURE:
        return await secure_vm(outside, plan)
    return await made(outside, plan)


@dataclass
class HypervisorScene:
    """VMs by kind: life, radix, enabled. `absent`: why a kind is not there; `ended`: an lpid of none."""

    outside: Outside
    vms: dict[tuple[Life, bool, bool], MadeVm] = field(default_factory=dict)
    absent: dict[tuple[Life, bool, bool], str] = field(default_factory=dict)
    ended: int = 0

    @classmethod
    async def set(cls, stage: Stage) -> Self:
        """Make all VMs that this subject lets us make."""
        outside = Outside(stage)
        scene = cls(outside)
        for plan in KINDS:
            kind = plan.life, plan.radix, plan.enabled
            try:
                scene.vms[kind] = await vm_of(outside, plan)
            except NoScene as reason:
                scene.absent[kind] = str(reason)
        scene.ended = await outside.create()
        await outside.destroy(scene.ended)
        return scene

    def vm(self, life: Life, *, radix: bool = True, enabled: bool = True) -> MadeVm:
        """Return the VM of a kind; raise NoScene where it could not be made."""
        kind = life, radix, enabled and life is not Life.DENIED
        if kind not in self.vms:
            raise NoScene(self.absent.get(kind, f"no VM is made that is {life}"))
        return self.vms[kind]

    async def infer(self) -> tuple[str, ...]:
        """Return what every VM answers to that which changes nothing if nothing has changed."""
        told = await asyncio.gather(*(self._told(vm) for vm in self.vms.values()))
        return tuple(each for one in told for each in one)

    async def _told(self, vm: MadeVm) -> list[str]:
        return [f"VM {vm.lpid}, {vm.plan.life}: {each}" async for each in probes(self.outside, vm)]

    async def strike(self) -> None:
        """Destroy all VMs."""
        await destroyed(self.outside, self.vms.values())


async def probes(outside: Outside, vm: MadeVm) -> AsyncIterator[str]:
    """Yield outcomes by which a VM of each life, and a GFN of each state, is known from outside."""
    loaded = await outside.load(vm.lpid, 0)
    yield f"its load: {'refused' if loaded is None else _mark(loaded)}"
    number = outside.number
    for name, request in _harmless(vm):
        yield f"{name}: {(await outside.hypercall(request)).code}"
    started = vm.plan.life in {Life.TRANSIENT, Life.SECURE}
    for gfn, letter in vm.plan.gfns.items() if started else ():
        if letter is Letter.S or (letter is Letter.N and vm.plan.life is Life.SECURE):
            yield f"its secure page {gfn:#x} asked for: {(await outside.page_in(vm.lpid, gfn)).code}"
        else:
            seen = await outside.read(vm.lpid, gfn)
            yield f"its page {gfn:#x} that is {letter}: {seen if isinstance(seen, str) else _mark(seen)}"
    yield f"ultracalls sent: {len(outside.heard_since(number, vm.lpid))}"


def _harmless(vm: MadeVm) -> tuple[tuple[str, Any], ...]:
    """Return hypercalls that a VM of that life refuses, or that find nothing to do."""
    lpid = Lpid(vm.lpid)
    gfns = [gfn for gfn, letter in vm.plan.gfns.items() if letter in {Letter.P, Letter.H}]
    out = ("page-out", SvmPageOut(lpid, runs_of(*gfns), 0, PAGE_ORDER))
    done, start = ("init-done", SvmInitDone(lpid)), ("init-start", SvmInitStart(lpid))
    match vm.plan.life:
        case Life.NORMAL | Life.DENIED:
            return (out, done)
        case Life.TRANSIENT:
            return (out, start)
        case _:
            return (out, done, start)


def _mark(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
