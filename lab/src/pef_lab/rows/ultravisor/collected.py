"""Rows that are written one by one, and the calls that they make in passing."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

from pef_lab.rows.doors import HYPERVISOR, Answer
from pef_lab.rows.row import Finding, Kind, Level, Row
from pef_lab.rows.stage import Stage
from pef_lab.rows.subject import NoScene, Subject
from pef_lab.rows.ultravisor.scene import ANYWHERE
from pef_lab.rows.ultravisor.seen import PAGES, Word
from pef_lab.rows.ultravisor.vm import UPPER, Vm, svm
from pef_protocol.codes import UCode
from pef_protocol.quantities import PAGE_ORDER, Gfn, Lpid, gpa_of
from pef_protocol.runs import PageRuns, PlacedRuns
from pef_protocol.ultracalls import PageIn, PageInval, PageOut, SharePage, UnsharePage

Play: TypeAlias = Callable[[Stage], Awaitable[Finding]]
OK: Final = UCode.U_SUCCESS.name


class Collected:
    """Rows of one kind, in the order in which they are written."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self.rows: list[Row] = []

    def row(
        self,
        place: str,
        call: str,
        clause: str,
        of: frozenset[Subject] = ANYWHERE,
        level: Level = Level.MUST,
    ) -> Callable[[Play], Play]:
        """Make what follows a row: its id, its call, and what it promises."""

        def collect(play: Play) -> Play:
            self.rows.append(Row(place, self._kind, call, clause, of, play, level))
            return play

        return collect


class Pages:
    """Calls of the Hypervisor about pages of one SVM."""

    def __init__(self, vm: Vm) -> None:
        self.vm = vm
        self.lpid = Lpid(vm.lpid)

    async def ask(self, request: object) -> Answer:
        """Make an ultracall as the Hypervisor."""
        return await self.vm.stage.ultravisor.call(HYPERVISOR, request)

    async def page_in(self, *rows: tuple[int, int, int]) -> Answer:
        """Make UV_PAGE_IN of runs (real address, GFN, pages)."""
        return await self.ask(PageIn(self.lpid, _placed(rows), 0, PAGE_ORDER))

    async def page_out(self, *rows: tuple[int, int, int]) -> Answer:
        """Make UV_PAGE_OUT of runs (real address, GFN, pages)."""
        return await self.ask(PageOut(self.lpid, _placed(rows), 0, PAGE_ORDER))

    async def inval(self, *rows: tuple[int, int]) -> Answer:
        """Make UV_PAGE_INVAL of runs (GFN, pages)."""
        runs = PageRuns.from_rows((gpa_of(gfn), pages) for gfn, pages in rows)
        return await self.ask(PageInval(self.lpid, runs, PAGE_ORDER))

    async def spare(self, pages: int = 1, word: Word = Word.OFFER) -> int:
        """Return normal pages that back nothing, with something in each."""
        ra = await self.vm.host.spare(pages)
        await self.vm.host.poke(ra, PAGES[word] * pages)
        return ra

    async def write(self, *gfns: int) -> None:
        """Have the guest write text into pages."""
        for gfn in gfns:
            await self.vm.store(gfn, PAGES[Word.TEXT])

    async def share(self, gfn: int, pages: int = 1) -> None:
        """Have the guest share pages; raise NoScene where that does not succeed."""
        must(await self.vm.call(SharePage(Gfn(gfn), pages)), "UV_SHARE_PAGE")

    async def unshare(self, gfn: int, pages: int = 1) -> None:
        """Have the guest take shared pages back; raise NoScene where that does not succeed."""
        must(await self.vm.call(UnsharePage(Gfn(gfn), pages)), "UV_UNSHARE_PAGE")

    async def withdraw(self, *gfns: int) -> None:
        """Have pages shared and withdrawn, if they are not."""
        for gfn in gfns:
            await self.share(gfn)
            must(await self.inval((gfn, 1)), "UV_PAGE_INVAL")


def _placed(rows: tuple[tuple[int, int, int], ...]) -> PlacedRuns:
    return PlacedRuns.from_rows((ra, gpa_of(gfn), pages) for ra, gfn, pages in rows)


def must(answer: Answer, what: str) -> None:
    """Raise NoScene where a call on the way to a row did not succeed."""
    if answer.code != OK:
        raise NoScene(f"{what} on the way: {answer.code} {answer.detail}".rstrip())


@asynccontextmanager
async def pages_of_svm(stage: Stage) -> AsyncIterator[Pages]:
    """Make an SVM of two slots, and end it afterwards."""
    async with svm(stage, UPPER) as vm:
        yield Pages(vm)
