"""The Hypervisor, played by us, so that an Ultravisor can be tested alone.

It is honest (`honest_hypervisor`) and owns normal memory (`owned_memory`). What a row wants answered
otherwise it says beforehand: `next` for hypercalls, `hold_bus` for bytes on their way.
"""

from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import Final, Self

from aiohttp import web

from pef_lab.between.server import Server
from pef_lab.hello import say_hello
from pef_lab.ports import LOOPBACK
from pef_lab.rows.doors import HYPERVISOR, Answer, Doors
from pef_lab.rows.playing.honest_hypervisor import HonestHypervisor, PlayedSlot, PlayedVm
from pef_lab.rows.playing.host import SlotPlan
from pef_lab.rows.playing.owned_memory import OwnedMemory
from pef_lab.rows.playing.script import Answer as Scripted
from pef_lab.rows.playing.script import Held, Honest, refuse
from pef_lab.rows.playing.wire import NotOurs, problem, read_call, require_token, told
from pef_lab.rows.subject import NoScene
from pef_protocol.calls import Reply
from pef_protocol.codes import HCode, UCode
from pef_protocol.http import HYPERCALL_PATH, NORMAL_MEMORY_PATH
from pef_protocol.hypercalls import SvmInitStart
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, Lpid, gpa_of
from pef_protocol.runs import PlacedRuns
from pef_protocol.ultracalls import PageOut, SvmTerminate, WritePate

LPIDS: Final = range(1, 2048)
"""From these a VM gets the first that is free."""


class PlayedHypervisor:
    """Plays the Hypervisor to the Ultravisor behind `ultravisor`, which shows `token` and calls us at `url`.

    It is a `Host`, too.
    """

    def __init__(self, ultravisor: Doors, token: str, host: str = LOOPBACK, port: int = 0) -> None:
        self._ultravisor = ultravisor
        self._token = token
        self._server = Server(self._answer, host, port)
        self._memory = OwnedMemory()
        self._honest = HonestHypervisor(self._memory, self._call)
        self._vms: dict[int, PlayedVm] = {}
        self._stack = AsyncExitStack()

    @property
    def url(self) -> str:
        """Return where we are called."""
        return self._server.url

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._server)
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        for vm in self._vms.values():
            vm.let_go()
        await self._stack.aclose()

    async def say_hello(self) -> None:
        """Begin an epoch; what the Ultravisor had of the one before is ended."""
        self._ultravisor.epoch = await say_hello(partial(self._ultravisor.ask, HYPERVISOR))

    # The script

    def vm(self, lpid: int) -> PlayedVm:
        """Return a VM as we keep it."""
        return self._vms[lpid]

    def next(self, lpid: int, name: str, *answers: Scripted) -> None:
        """Answer the next hypercalls of that name for a VM so, and honestly after them."""
        vm = self._vms[lpid]
        vm.script[name].extend(answers)
        vm.held += [each for each in answers if isinstance(each, Held)]

    def only(self, lpid: int, *gfns: int) -> Scripted:
        """Return an answer to H_SVM_PAGE_IN that brings these GFNs and refuses the others."""

        async def answer(_: Honest) -> Reply:
            vm = self._vms[lpid]
            return await self._honest.take_some(vm, vm.asked[-1], gfns)

        return answer

    def hold_bus(self, lpid: int, ra: int) -> Held:
        """Hold the next message of the memory bus that names the page at `ra`, until then or the VM's end."""
        held = self._memory.hold(ra)
        self._vms[lpid].held.append(held)
        return held

    # The host

    async def new_vm(self, *slots: SlotPlan, secure_guest: bool = True) -> int:
        """Make a normal VM of slots, with its partition-table entry; what had its lpid before is ended."""
        lpid = next(each for each in LPIDS if each not in self._vms)
        placed = [PlayedSlot(plan, self._memory.give(plan.pages)) for plan in slots]
        self._vms[lpid] = PlayedVm(tuple(placed))
        if not secure_guest:
            self.next(lpid, "H_SVM_INIT_START", refuse(HCode.H_AUTHORITY))
        await self._call(SvmTerminate(Lpid(lpid)))
        written = await self._call(WritePate(Lpid(lpid), 1, 1))
        if written.code != UCode.U_SUCCESS.name:
            raise NoScene(f"UV_WRITE_PATE for a new VM: {written.code}")
        return lpid

    async def write(self, lpid: int, gpa: int, content: bytes) -> None:
        """Write into the memory of a VM; all of it lies in one slot."""
        await self.poke(self._vms[lpid].ra(gpa >> PAGE_ORDER) + gpa % PAGE_SIZE, content)

    async def read(self, lpid: int, gpa: int, length: int) -> bytes:
        """Return what lies in the normal pages of a VM."""
        return await self.peek(self._vms[lpid].ra(gpa >> PAGE_ORDER) + gpa % PAGE_SIZE, length)

    async def page_out(self, lpid: int, gfn: int) -> int:
        """Take a page out, to its own normal page."""
        vm = self._vms[lpid]
        runs = PlacedRuns.of((vm.ra(gfn), gpa_of(gfn), 1))
        answer = await self._call(PageOut(Lpid(lpid), runs, 0, PAGE_ORDER))
        if answer.code != UCode.U_SUCCESS.name:
            raise NoScene(f"UV_PAGE_OUT of a resident page: {answer.code}")
        vm.letters[gfn] = "P"
        return vm.ra(gfn)

    async def spare(self, count: int = 1) -> int:
        """Return pages of normal memory that were given to nobody yet."""
        return self._memory.give(count)

    async def peek(self, ra: int, length: int = PAGE_SIZE) -> bytes:
        """Read normal memory."""
        return self._memory.read(ra, length)

    async def poke(self, ra: int, content: bytes) -> None:
        """Write normal memory."""
        self._memory.write(ra, content)

    async def destroy(self, lpid: int) -> None:
        """End a VM, and let go of all that is held for it."""
        vm = self._vms[lpid]
        vm.let_go()
        await self._call(SvmTerminate(Lpid(lpid)))
        await self._call(WritePate(Lpid(lpid), 0, 0))
        for slot in vm.slots:
            self._memory.scrub(slot.base, slot.plan.pages)
        del self._vms[lpid]

    async def _call(self, request: object) -> Answer:
        return await self._ultravisor.call(HYPERVISOR, request)

    # What the Ultravisor asks

    async def _answer(self, request: web.Request, body: bytes) -> web.StreamResponse:
        try:
            require_token(request, self._token)
            if request.path.startswith(NORMAL_MEMORY_PATH):
                return await self._memory.carry(request.path.removeprefix(NORMAL_MEMORY_PATH), body)
            call, asked = read_call(request, body, HYPERCALL_PATH)
        except NotOurs as refusal:
            return problem(refusal)
        vm = self._vms.get(asked.lpid)
        if vm is None:
            starts = isinstance(asked, SvmInitStart)
            return told(call, Reply(HCode.H_PARAMETER if starts else HCode.H_UNSUPPORTED))
        vm.asked.append(asked)
        queue = vm.script[call.name]
        honest = partial(self._honest.answer, vm, asked)
        return told(call, await (queue.popleft()(honest) if queue else honest()))
