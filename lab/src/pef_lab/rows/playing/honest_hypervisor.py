"""What an honest Hypervisor does when the Ultravisor asks, and what it keeps of a VM.

H_SVM_INIT_START registers the VM's slots, H_SVM_PAGE_IN brings pages by UV_PAGE_IN, H_SVM_PAGE_OUT takes
them by UV_PAGE_OUT, each nested in the hypercall that asks for it. Of each GFN there is a letter, as the
specification has it: N, S, P or H.

Source: specification of the Hypervisor, sections 1, 4 and 6, minus defects K4, K6 and K15.
"""

from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from pef_lab.rows.doors import Answer
from pef_lab.rows.playing.host import SlotPlan
from pef_lab.rows.playing.owned_memory import OwnedMemory
from pef_lab.rows.playing.script import Answer as Scripted
from pef_lab.rows.playing.script import Held
from pef_protocol.calls import Reply
from pef_protocol.codes import HCode, UCode
from pef_protocol.designs import Design
from pef_protocol.hypercalls import SvmInitAbort, SvmInitDone, SvmInitStart, SvmPageIn, SvmPageOut
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, Lpid, SlotId, gpa_of
from pef_protocol.runs import CodedRuns, PageRuns, PlacedRuns
from pef_protocol.ultracalls import PageIn, PageOut, RegisterMemSlot, SvmTerminate

LEFT: Final = b"left by somebody else. ".ljust(64, b"-") * (PAGE_SIZE // 64)

Ultracall: TypeAlias = Callable[[object], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class PlayedSlot:
    """A memory slot: `plan` says which GFNs, `base` where the first of them lies in normal memory."""

    plan: SlotPlan
    base: int

    @property
    def gfns(self) -> range:
        """Return the GFNs of the slot."""
        return range(self.plan.first, self.plan.first + self.plan.pages)


@dataclass(slots=True)
class PlayedVm:
    """A VM as we keep it; `asked` are the hypercalls made for it, `script` what to answer next, by name."""

    slots: tuple[PlayedSlot, ...]
    letters: defaultdict[int, str] = field(default_factory=lambda: defaultdict(lambda: "N"))
    secure: bool = False
    asked: list[Any] = field(default_factory=list)
    script: defaultdict[str, deque[Scripted]] = field(default_factory=lambda: defaultdict(deque))
    held: list[Held] = field(default_factory=list)

    def ra(self, gfn: int) -> int:
        """Return the real address at which a GFN lies while it is not secure."""
        slot = next(each for each in self.slots if gfn in each.gfns)
        return slot.base + (gfn - slot.plan.first << PAGE_ORDER)

    def let_go(self) -> None:
        """Release all that is held, and be honest from now on."""
        self.script.clear()
        for held in self.held:
            held.release.set()


class HonestHypervisor:
    """Answers hypercalls as a Hypervisor does that keeps to the protocol; `call` makes its ultracalls."""

    def __init__(self, memory: OwnedMemory, call: Ultracall) -> None:
        self._memory = memory
        self._call = call

    async def answer(self, vm: PlayedVm, asked: Any) -> Reply:
        """Do what is asked for a VM, and return the answer."""
        match asked:
            case SvmInitStart(lpid):
                return await self._start(vm, lpid)
            case SvmInitDone():
                left_over = [gfn for slot in vm.slots for gfn in slot.gfns if vm.letters[gfn] == "N"]
                vm.letters.update(dict.fromkeys(left_over, "S"))
                vm.secure = True
                return Reply(HCode.H_SUCCESS)
            case SvmInitAbort(lpid):
                return Reply(HCode.H_STATE) if vm.secure else await self._take_back(vm, lpid)
            case SvmPageIn(lpid, runs, flags):
                gfns = list(gfns_of(runs))
                if not flags and any(vm.letters[gfn] == "S" for gfn in gfns):
                    return Reply(HCode.H_PARAMETER)
                return await self._move(vm, lpid, gfns, PageIn, "H" if flags else "S")
            case SvmPageOut(lpid, runs):
                held = [gfn for gfn in gfns_of(runs) if vm.letters[gfn] == "S"]
                return await self._move(vm, lpid, held, PageOut, "P")
            case _:
                return Reply(HCode.H_FUNCTION)

    async def take_some(self, vm: PlayedVm, asked: SvmPageIn, some: Collection[int]) -> Reply:
        """Do what H_SVM_PAGE_IN asks for `some` GFNs, and refuse the others."""
        gfns = list(gfns_of(asked.runs))
        taken = [gfn for gfn in gfns if gfn in some]
        await self._move(vm, asked.lpid, taken, PageIn, "H" if asked.flags else "S")
        refused = [(gpa_of(gfn), 1, int(HCode.H_PARAMETER)) for gfn in gfns if gfn not in some]
        return Reply(HCode.H_PARAMETER if refused else HCode.H_SUCCESS, refused=CodedRuns.of(*refused))

    async def _start(self, vm: PlayedVm, lpid: Lpid) -> Reply:
        for slot in sorted(vm.slots, key=lambda each: -each.plan.first):
            slotid, first, pages = slot.plan
            request = RegisterMemSlot(lpid, gpa_of(first), pages << PAGE_ORDER, 0, SlotId(slotid))
            if (await self._call(request)).code != UCode.U_SUCCESS.name:
                return Reply(HCode.H_PARAMETER)
        return Reply(HCode.H_SUCCESS, {"design": Design.TRACKED.value})

    async def _move(
        self, vm: PlayedVm, lpid: Lpid, gfns: list[int], call: type[PageIn | PageOut], letter: str
    ) -> Reply:
        """Move pages by one ultracall; note those that it did not refuse."""
        if not gfns:
            return Reply(HCode.H_SUCCESS)
        for gfn in gfns if letter == "H" else ():
            self._leave_as_found(vm, gfn)
        runs = PlacedRuns.from_rows((vm.ra(gfn), gpa_of(gfn), 1) for gfn in gfns)
        answer = await self._call(call(lpid, runs, 0, PAGE_ORDER))
        done = answer.code == UCode.U_SUCCESS.name
        refused = {gfn for gpa, count, _ in answer.refused for gfn in gfns_of(PageRuns.of((gpa, count)))}
        for gfn in gfns if done else [gfn for gfn in gfns if refused and gfn not in refused]:
            vm.letters[gfn] = letter
            if letter == "S":
                self._memory.scrub(vm.ra(gfn), 1)
        if done:
            return Reply(HCode.H_SUCCESS)
        code = HCode.H_BUSY if answer.code == UCode.U_BUSY.name else HCode.H_PARAMETER
        return Reply(
            code, refused=CodedRuns.from_rows((gpa, count, code) for gpa, count, _ in answer.refused)
        )

    def _leave_as_found(self, vm: PlayedVm, gfn: int) -> None:
        """Have something in a page that is offered to be shared, as in any free page of a host."""
        ra = vm.ra(gfn)
        if vm.letters[gfn] == "S" and self._memory.read(ra, PAGE_SIZE) == bytes(PAGE_SIZE):
            self._memory.write(ra, LEFT)

    async def _take_back(self, vm: PlayedVm, lpid: Lpid) -> Reply:
        """Have a VM's memory back after a failed UV_ESM: what went out goes in first, then all comes out."""
        for letter, call, then in (("P", PageIn, "S"), ("S", PageOut, "N")):
            gfns = [gfn for gfn, now in vm.letters.items() if now == letter]
            if not (await self._move(vm, lpid, gfns, call, then)).code.succeeded:
                return Reply(HCode.H_STATE)
        vm.letters.clear()
        await self._call(SvmTerminate(lpid))
        return Reply(HCode.H_PARAMETER)


def gfns_of(runs: PageRuns) -> Iterator[int]:
    """Yield every GFN of runs."""
    for gpa, count in runs:
        yield from range(gpa >> PAGE_ORDER, (gpa >> PAGE_ORDER) + count)
