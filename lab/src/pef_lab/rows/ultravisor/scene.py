"""The scene of the Ultravisor's ladders: VMs of every kind, and in one of them GFNs of every kind.

| VM | is |
|---|---|
| SECURE | an SVM of two slots, with the GFNs below |
| OTHER | a second SVM, with a shared page of its own |
| NORMAL | a VM whose partition-table entry is written, and that never called UV_ESM |
| NEVER, NOBODY, WIDE, HUGE | an lpid that names no VM: one of the range, 0, one of 13 bits, of 64 |
| ACTIVE | a VM whose UV_ESM stands before the answer to H_SVM_INIT_DONE: its image is measured |
| IN_FLIGHT | an SVM of which a page is being shared: the Hypervisor has not answered |
| ABORTED | a VM whose UV_ESM failed, and whose Hypervisor would not have it back |

The last three need a Hypervisor that answers as we like.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple, Self

from pef_lab.rows.doors import HYPERVISOR, VMM, Answer, Who, kernel_of, user_of
from pef_lab.rows.playing.script import Held, refuse
from pef_lab.rows.sheet import Aspects
from pef_lab.rows.stage import Stage
from pef_lab.rows.subject import NoScene, Subject
from pef_lab.rows.ultravisor.images import tampered
from pef_lab.rows.ultravisor.vm import FIRST_FREE, NO_SLOT, UPPER, Vm, Workshop, kept_if_well, page_of
from pef_protocol.codes import HCode, UCode
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, Gfn, Lpid, SlotId, gpa_of
from pef_protocol.runs import PageRuns, PlacedRuns
from pef_protocol.ultracalls import (
    EsmbGetFile,
    PageIn,
    PageInval,
    PageOut,
    RegisterMemSlot,
    SharePage,
    SvmTerminate,
    UnregisterMemSlot,
)

RESIDENT, RESIDENT_TOO, OUT, SHARED, WITHDRAWN, WITHDRAWN_TOO = range(FIRST_FREE, FIRST_FREE + 6)
"""GFNs of SECURE, by their state."""
RTAS: Final = 32
KERNEL: Final = 64
READ_SO_FAR: Final = 64
"""Bytes that were handed out of the file `read`."""


class Kept(StrEnum):
    """A VM of the scene."""

    SECURE = "secure"
    OTHER = "other"
    NORMAL = "normal"
    NEVER = "never"
    NOBODY = "lpid 0"
    WIDE = "13 bits"
    HUGE = "64 bits"
    ACTIVE = "active"
    IN_FLIGHT = "in flight"
    ABORTED = "aborted"


NO_VM: Final = {Kept.NEVER: 4000, Kept.NOBODY: 0}
TOO_HIGH: Final = {Kept.WIDE: 1 << 12, Kept.HUGE: 1 << 63}
"""A bit that no lpid has; the others are an SVM's, so that whoever passes over it meets that."""
PLAYED: Final = frozenset({Kept.ACTIVE, Kept.IN_FLIGHT, Kept.ABORTED})
"""VMs that need a Hypervisor which answers as we like."""


class Place(StrEnum):
    """A place in normal memory that the scene knows."""

    SPARE = "pages that back nothing"
    SEALED = "the page that OUT was sealed into"
    BACKING = "the page that backs SHARED"
    BACKING_OTHER = "a page that backs a GFN of OTHER"


class At(NamedTuple):
    """A real address: so many bytes from a place."""

    place: Place
    plus: int = 0


class By(StrEnum):
    """Who makes a call: the Hypervisor, or the kernel or a user program of the VM that is named `vm`.

    The VMM is nobody here: only the Hypervisor knows it.
    """

    HYPERVISOR = "hypervisor"
    KERNEL = "kernel"
    USER = "user program"
    NOBODY = "somebody without a token that is known here"


@dataclass
class Cast:
    """The VMs of the scene, by name, and the places."""

    stage: Stage = field(repr=False)
    vms: dict[Kept, Vm] = field(default_factory=dict)
    places: dict[Place, int] = field(default_factory=dict)
    bounce: list[int] = field(default_factory=list)

    @classmethod
    async def set(cls, stage: Stage) -> Self:
        """Make the VMs that any host lets be made."""
        cast = cls(stage)
        try:
            await cast._make()
        except BaseException:
            await cast.strike()
            raise
        return cast

    async def _make(self) -> None:
        for kept in (Kept.SECURE, Kept.OTHER):
            self.vms[kept] = await Vm.secured(self.stage, UPPER)
        self.vms[Kept.NORMAL] = await Vm.loaded(self.stage)
        secure, host = self.vms[Kept.SECURE], self.vms[Kept.SECURE].host
        self.bounce = await secure.bounce_pages()
        self.places[Place.SPARE] = await host.spare(4)
        for gfn in (RESIDENT, RESIDENT_TOO, OUT):
            await secure.store(gfn, page_of(f"page {gfn}"))
        self.places[Place.SEALED] = await host.page_out(secure.lpid, OUT)
        places = {Kept.SECURE: Place.BACKING, Kept.OTHER: Place.BACKING_OTHER}
        for kept, place in places.items():
            self.places[place] = await host.spare(2) + PAGE_SIZE
            await self._share(self.vms[kept], SHARED, self.places[place])
        for gfn in (WITHDRAWN, WITHDRAWN_TOO):
            await self._share(secure, gfn)
            await self._must(PageInval(Lpid(secure.lpid), PageRuns.of((gpa_of(gfn), 1)), PAGE_ORDER))
        answer = await secure.call(EsmbGetFile("read", 0))
        if answer.outputs.get("count") != READ_SO_FAR:
            raise NoScene(f"UV_ESMB_GET_FILE of an attached file: {answer.code}")

    async def _share(self, vm: Vm, gfn: int, ra: int = 0) -> None:
        """Share a page; with `ra`, have it backed by that page, which then holds mail."""
        answer = await vm.call(SharePage(Gfn(gfn), 1))
        if answer.code != UCode.U_SUCCESS.name:
            raise NoScene(f"UV_SHARE_PAGE of a resident page: {answer.code} {answer.detail}")
        if ra:
            await self._must(PageIn(Lpid(vm.lpid), PlacedRuns.of((ra, gpa_of(gfn), 1)), 0, PAGE_ORDER))
            await vm.host.poke(ra, page_of("mail"))

    async def _must(self, request: object) -> None:
        answer = await self.call(HYPERVISOR, request)
        if answer.code != UCode.U_SUCCESS.name:
            raise NoScene(f"{type(request).__name__} before the row: {answer.code} {answer.detail}")

    async def strike(self) -> None:
        """End all VMs."""
        while self.vms:
            _, vm = self.vms.popitem()
            await vm.end()

    # What a message names

    async def call(self, who: Who, request: object) -> Answer:
        """Make an ultracall."""
        return await self.stage.ultravisor.call(who, request)

    def lpid(self, kept: Kept) -> Lpid:
        """Return the lpid of a VM, or one that names none."""
        if kept in TOO_HIGH:
            return Lpid(TOO_HIGH[kept] | self.vms[Kept.SECURE].lpid)
        return Lpid(NO_VM[kept] if kept in NO_VM else self.vms[kept].lpid)

    def ra(self, at: At | int) -> int:
        """Return a real address."""
        return at if isinstance(at, int) else self.places[at.place] + at.plus

    def who(self, aspects: Aspects) -> Who:
        """Return who makes the call of these aspects; the Hypervisor's calls know no `vm`."""
        lpid = self.lpid(aspects.get("vm", Kept.SECURE))
        callers = {
            By.HYPERVISOR: HYPERVISOR,
            By.KERNEL: kernel_of(lpid),
            By.USER: user_of(lpid),
            By.NOBODY: VMM,
        }
        return callers[aspects["by"]]

    async def ready(self, aspects: Aspects) -> None:
        """Have the VMs there that aspects name and that are made only then."""
        for kept in PLAYED & named(aspects):
            vm = self.vms.get(kept)
            if vm is not None and vm.under_way == (kept is not Kept.ABORTED):
                continue
            if vm is not None:
                await self.vms.pop(kept).end()
            self.vms[kept] = await _MAKERS[kept](self.stage)

    # What would differ if something had changed

    async def infer(self) -> tuple[str, ...]:
        """Make calls that change nothing as long as all is as it was made; return what came of them."""
        secure = self.vms[Kept.SECURE]
        known = {page_of(f"page {RESIDENT}"), page_of(f"page {RESIDENT_TOO}"), page_of("mail")}
        loads = await asyncio.gather(
            *(secure.load(gfn) for gfn in (RESIDENT, RESIDENT_TOO, SHARED)),
            self.vms[Kept.OTHER].load(SHARED),
        )
        answers = await asyncio.gather(*(self.call(who, request) for who, request in self._probes(secure)))
        seen = ["as written" if load in known else f"{hash(load):x}" for load in loads]
        return (*seen, *(f"{each.code} {each.refused}" for each in answers))

    def _probes(self, secure: Vm) -> list[tuple[Who, object]]:
        """Return ultracalls whose answers tell in which state things are.

        A page-out of what is out already says by its code whether its target backs a GFN; one of a shared
        page does nothing.
        """
        lpid = Lpid(secure.lpid)
        spare = self.places[Place.SPARE]
        shared = enumerate((SHARED, WITHDRAWN, WITHDRAWN_TOO, RTAS))
        runs = [(spare + (place << PAGE_ORDER), gpa_of(gfn), 1) for place, gfn in shared]
        unshared = [(gpa_of(gfn), 1) for gfn in (KERNEL, RESIDENT, OUT, WITHDRAWN, WITHDRAWN_TOO)]
        requests: list[object] = [
            *(
                PageOut(lpid, PlacedRuns.of((self.ra(At(place)), gpa_of(OUT), 1)), 0, PAGE_ORDER)
                for place in (Place.SPARE, Place.BACKING, Place.BACKING_OTHER)
            ),
            PageOut(lpid, PlacedRuns.from_rows(runs), 0, PAGE_ORDER),
            PageInval(lpid, PageRuns.from_rows(unshared), PAGE_ORDER),
            *(
                PageInval(self.lpid(kept), PageRuns.of((gpa_of(UPPER.first), 1)), PAGE_ORDER)
                for kept in self.vms
            ),
            UnregisterMemSlot(lpid, SlotId(7)),
            RegisterMemSlot(lpid, gpa_of(NO_SLOT), PAGE_SIZE, 0, SlotId(UPPER.slotid)),
            SvmTerminate(self.lpid(Kept.NORMAL)),
            SvmTerminate(self.lpid(Kept.NEVER)),
        ]
        file = secure.kernel, EsmbGetFile("read", READ_SO_FAR - 1)
        return [*((HYPERVISOR, request) for request in requests), file]


async def active_vm(stage: Stage) -> Vm:
    """Make a VM whose UV_ESM stands before the answer to H_SVM_INIT_DONE."""
    vm = await Vm.loaded(stage)
    async with kept_if_well(vm):
        await vm.hold(vm.esm, "H_SVM_INIT_DONE", Held())
    return vm


async def vm_in_flight(stage: Stage) -> Vm:
    """Make an SVM of which a page is being shared, while the Hypervisor does not answer."""
    vm = await Vm.secured(stage)
    async with kept_if_well(vm):
        await vm.hold(SharePage(Gfn(RESIDENT), 1), "H_SVM_PAGE_IN", Held())
    return vm


async def aborted_vm(stage: Stage) -> Vm:
    """Make a VM whose UV_ESM failed, and whose Hypervisor would not have it back."""
    workshop = await stage.scene(Workshop)
    vm = await Vm.loaded(stage, UPPER, image=tampered(workshop.image, "kernel"))
    async with kept_if_well(vm):
        vm.played.next(vm.lpid, "H_SVM_INIT_ABORT", refuse(HCode.H_STATE))
        answer = await vm.enter()
        if answer.code != UCode.U_PERMISSION.name:
            raise NoScene(f"UV_ESM of a kernel that was tampered with: {answer.code}")
    return vm


_MAKERS: Final[Mapping[Kept, Callable[[Stage], Awaitable[Vm]]]] = {
    Kept.ACTIVE: active_vm,
    Kept.IN_FLIGHT: vm_in_flight,
    Kept.ABORTED: aborted_vm,
}

ANYWHERE: Final = frozenset({Subject.PAIR, Subject.ULTRAVISOR})
ALONE: Final = frozenset({Subject.ULTRAVISOR})


def subjects(aspects: Aspects) -> frozenset[Subject]:
    """Return the subjects on which a message of these aspects can be made."""
    return ALONE if PLAYED & named(aspects) else ANYWHERE


def named(aspects: Aspects) -> frozenset[Any]:
    """Return the VMs that aspects name."""
    return frozenset(each for each in aspects.values() if isinstance(each, Kept))
