"""One GFN brought into a state, in a VM of its own, and looked at.

A transient state lasts while a call of the guest is open: the hypercall within it is held by the
Hypervisor that we play. HV_UNSHARED lies between the Hypervisor's grant and the end of the whole call; to
be met, the Ultravisor must ask again for a second page.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from pef_lab.rows.doors import HYPERVISOR, Answer
from pef_lab.rows.playing.hypervisor import PlayedHypervisor
from pef_lab.rows.playing.script import Held, Honest
from pef_lab.rows.stage import Stage
from pef_lab.rows.subject import NoScene
from pef_lab.rows.ultravisor.seen import PAGES, Word, word_of
from pef_lab.rows.ultravisor.table import IMPLICIT, INVALID, PSEUDO, TRANSIENT
from pef_lab.rows.ultravisor.vm import FIRST_FREE, Vm, kept_if_well
from pef_protocol.calls import Reply
from pef_protocol.codes import HCode, UCode
from pef_protocol.quantities import PAGE_ORDER, Gfn, Lpid, gfn_of, gpa_of
from pef_protocol.runs import CodedRuns, PageRuns, PlacedRuns
from pef_protocol.states import UvGfnState as S
from pef_protocol.ultracalls import PageIn, PageInval, PageOut, SharePage, UnsharePage

BESIDE: Final = FIRST_FREE + 50
"""A GFN of the guest that nothing is done to."""
VALID: Final = {invalid: valid for valid, invalid in INVALID.items()}


@dataclass
class StagedGfn:
    """A GFN in a state. `backing` is the normal page behind it, `sealed` where it went out to.

    `text` is what its guest wrote; `held` holds the hypercall within the open `call` of a transient state.
    """

    vm: Vm
    gfn: int
    text: bytes = field(default=b"", repr=False)
    backing: int = 0
    sealed: int = 0
    held: Held | None = None
    call: "asyncio.Task[Answer] | None" = None

    @classmethod
    async def put(cls, stage: Stage, state: S) -> "StagedGfn":
        """Make a VM and bring a GFN of it into `state`; raise NoScene where that can't be had."""
        vm = await Vm.secured(stage)
        async with kept_if_well(vm):
            staged = cls(vm, FIRST_FREE, PAGES[Word.TEXT])
            await vm.store(BESIDE, PAGES[Word.TEXT])
            await staged._bring(state)
            now = await vm.state_of(staged.gfn)
            if now not in {"", state.name}:
                raise NoScene(f"a GFN that should be {state.name} is {now}")
        return staged

    async def _bring(self, state: S) -> None:
        """Bring the GFN into a state by the way that leads there; an invalid one by way of the valid one."""
        if state in IMPLICIT:
            self.gfn = (await self.vm.bounce_pages())[0]
        elif state in PSEUDO:
            self.gfn, self.text = gfn_of(self.vm.image.rtas_address), self.vm.image.rtas
        else:
            await self.vm.store(self.gfn, self.text)
        valid = VALID.get(state, state)
        await _WAYS[valid](self)
        if valid is not state:
            await self.must(self.inval())

    # Calls about it

    def page_in(self, ra: int) -> PageIn:
        """Return UV_PAGE_IN of it."""
        return PageIn(Lpid(self.vm.lpid), PlacedRuns.of((ra, gpa_of(self.gfn), 1)), 0, PAGE_ORDER)

    def page_out(self, ra: int) -> PageOut:
        """Return UV_PAGE_OUT of it."""
        return PageOut(Lpid(self.vm.lpid), PlacedRuns.of((ra, gpa_of(self.gfn), 1)), 0, PAGE_ORDER)

    def inval(self) -> PageInval:
        """Return UV_PAGE_INVAL of it."""
        return PageInval(Lpid(self.vm.lpid), PageRuns.of((gpa_of(self.gfn), 1)), PAGE_ORDER)

    async def ask(self, request: object) -> Answer:
        """Make an ultracall as the Hypervisor."""
        return await self.vm.stage.ultravisor.call(HYPERVISOR, request)

    async def must(self, request: object) -> None:
        """Make an ultracall on the way to a state; raise NoScene where it does not succeed."""
        answer = await self.ask(request)
        if answer.code != UCode.U_SUCCESS.name:
            raise NoScene(f"{type(request).__name__} on the way: {answer.code} {answer.detail}".rstrip())

    # Ways to states

    async def lie(self) -> None:
        """Leave it as it is."""

    async def go_out(self) -> None:
        """Have it paged out."""
        self.sealed = await self.vm.host.page_out(self.vm.lpid, self.gfn)

    async def share(self) -> None:
        """Share it, and give it a page of ours, in which there is mail."""
        answer = await self.vm.call(SharePage(Gfn(self.gfn), 1))
        if answer.code != UCode.U_SUCCESS.name:
            raise NoScene(f"UV_SHARE_PAGE on the way: {answer.code} {answer.detail}".rstrip())
        await self.back()

    async def back(self) -> None:
        """Give it a page of ours, in which there is mail."""
        self.backing = await self.vm.host.spare()
        await self.must(self.page_in(self.backing))
        await self.vm.host.poke(self.backing, PAGES[Word.MAIL])

    async def begin_share(self, *, offered: bool) -> None:
        """Have a share of it open, before the Hypervisor offers a page with mail in it, or after."""
        self.backing = self.vm.played.vm(self.vm.lpid).ra(self.gfn)
        await self.vm.host.poke(self.backing, PAGES[Word.MAIL])
        await self._hold(SharePage(Gfn(self.gfn), 1), Held(done_first=offered))

    async def begin_unshare(self) -> None:
        """Have an unshare of it open, before the Hypervisor grants it."""
        self.vm.played  # noqa: B018 - before anything is done: it raises where none is played
        await self.share()
        await self._hold(UnsharePage(Gfn(self.gfn), 1), Held())

    async def be_granted(self) -> None:
        """Have an unshare of it and of the next GFN open, of which the Hypervisor granted the first."""
        played = self.vm.played
        await self.share()
        answer = await self.vm.call(SharePage(Gfn(self.gfn + 1), 1))
        if answer.code != UCode.U_SUCCESS.name:
            raise NoScene(f"UV_SHARE_PAGE on the way: {answer.code}")
        played.next(self.vm.lpid, "H_SVM_PAGE_IN", self._first_only(played))
        await self._hold(UnsharePage(Gfn(self.gfn), 2), Held())
        if await self.vm.state_of(self.gfn) != S.HV_UNSHARED.name:
            raise NoScene("nobody outside meets a GFN between the Hypervisor's grant and the end of the call")

    def _first_only(self, played: PlayedHypervisor) -> Callable[[Honest], Awaitable[Reply]]:
        second = gpa_of(self.gfn + 1), 1, int(HCode.H_BUSY)

        async def answer(honest: Honest) -> Reply:
            if played.vm(self.vm.lpid).asked[-1].runs.pages == 1:
                return await honest()
            return Reply(HCode.H_BUSY, refused=CodedRuns.of(second))

        return answer

    async def _hold(self, request: object, held: Held) -> None:
        self.held = held
        self.call = await self.vm.hold(request, "H_SVM_PAGE_IN", held)

    # What is seen

    async def close_call(self) -> str | None:
        """Let the open call end; return its code, or None where none is open."""
        if self.held is None or self.call is None:
            return None
        self.held.release.set()
        return (await self.call).code

    async def guest_sees(self, state: S) -> Word:
        """Return what the guest reads of it, which is brought back first where `state` asks for that."""
        away = {S.PAGEDOUT: self.sealed, S.SHARED_INV: self.backing}
        if (ra := away.get(state)) is not None:
            await self.ask(self.page_in(ra))
        return word_of(await self.vm.load(self.gfn), self.text)

    async def host_sees(self, ra: int) -> Word:
        """Return what lies in a normal page."""
        return word_of(await self.vm.host.peek(ra)) if ra else Word.NOTHING

    async def is_backed_by(self, ra: int) -> bool:
        """Tell whether a normal page backs it: no page can then go out there."""
        runs = PlacedRuns.of((ra, gpa_of(BESIDE), 1))
        answer = await self.ask(PageOut(Lpid(self.vm.lpid), runs, 0, PAGE_ORDER))
        return answer.code == UCode.U_P2.name

    async def is_alone(self) -> bool:
        """Tell whether the GFN beside it is as its guest wrote it."""
        return await self.vm.load(BESIDE) == PAGES[Word.TEXT]


_WAYS: Final[Mapping[S, Callable[[StagedGfn], Awaitable[None]]]] = {
    S.SECURE: StagedGfn.lie,
    S.PAGEDOUT: StagedGfn.go_out,
    S.SHARED: StagedGfn.share,
    S.SHARED_IMPLICIT: StagedGfn.back,
    S.PSEUDO_SHARED: StagedGfn.back,
    S.HV_SHARING: lambda staged: staged.begin_share(offered=False),
    S.HV_SHARED: lambda staged: staged.begin_share(offered=True),
    S.HV_UNSHARING: StagedGfn.begin_unshare,
    S.HV_UNSHARED: StagedGfn.be_granted,
}
_NO_WAY = set(S) - set(_WAYS) - set(VALID)
if _NO_WAY or not set(TRANSIENT) <= {*_WAYS, *VALID}:
    message = f"no way leads to {_NO_WAY}"
    raise ImportError(message)
