"""What an Ultravisor that keeps to the protocol answers to a Hypervisor, written from the documents.

Every rung that a Hypervisor can run into is looked at in the documented order, so one that asks for what it
may not reads the code that it would read from any Ultravisor.

Source: Documentation/powerpc/ultravisor.rst, "Ultracalls"; decisions; specification of the Ultravisor,
sections 1.2 and 2.2.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from pef_kit.runtime.bus import NORMAL_BASE
from pef_lab.rows.doors import Doors
from pef_lab.rows.playing.normal_memory import read_normal, write_normal
from pef_lab.rows.playing.pages import BLANK, Page, Place, PlayedSvm, Sealer, gfns_of, placed
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, SECURE_BIT, SLOT_IDS, gfn_of
from pef_protocol.runs import CodedRuns, Runs
from pef_protocol.ultracalls import (
    PageIn,
    PageInval,
    PageOut,
    RegisterMemSlot,
    SvmTerminate,
    UnregisterMemSlot,
    WritePate,
)

U: Final = UCode
MOST_PAGES: Final = 1 << 14
"""Pages of one message that bytes are moved for: a played side holds no large machine."""


@dataclass
class Honesty:
    """The state of a machine's Ultravisor, and its honest answers. `owner` owns normal memory."""

    owner: Doors
    sealer: Sealer
    svms: dict[int, PlayedSvm] = field(default_factory=dict)
    entries: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Partition-table entries by lpid; one that is (0, 0) is none."""

    async def answer(self, request: Any, passed_over: Collection[int] = ()) -> Reply:
        """Do what an ultracall asks for, but nothing for the GFNs `passed_over`; return the reply."""
        match request:
            case WritePate():
                return Reply(self._write_pate(request))
            case RegisterMemSlot():
                return Reply(self._register(request))
            case UnregisterMemSlot():
                return Reply(self._unregister(request))
            case SvmTerminate():
                return Reply(self._terminate(request.lpid))
            case PageIn() | PageOut() | PageInval():
                return await self._paging(request, passed_over)
            case _:
                return Reply(U.U_PERMISSION)

    def _write_pate(self, request: WritePate) -> UCode:
        if request.lpid in self.svms:
            return U.U_PERMISSION
        self.entries[request.lpid] = request.dw0, request.dw1
        if (request.dw0, request.dw1) == (0, 0):
            del self.entries[request.lpid]
        return U.U_SUCCESS

    def _register(self, request: RegisterMemSlot) -> UCode:
        svm = self.svms.get(request.lpid)
        first, pages = gfn_of(request.start_gpa), request.size >> PAGE_ORDER
        whole = request.size % PAGE_SIZE == 0 and pages > 0
        refusals = (
            (request.start_gpa % PAGE_SIZE != 0, U.U_P2),
            (not whole or request.start_gpa + request.size > 1 << 64, U.U_P3),
            (request.flags != 0, U.U_P4),
            (request.slotid >= SLOT_IDS, U.U_P5),
            (svm is None, U.U_PARAMETER),
            (svm is not None and svm.aborted, U.U_STATE),
            (svm is not None and request.slotid in svm.slots, U.U_P5),
            (svm is not None and svm.overlaps(first, pages), U.U_P2),
        )
        code = next((code for wrong, code in refusals if wrong), U.U_SUCCESS)
        if svm is not None and code is U.U_SUCCESS:
            svm.slots[request.slotid] = first, pages
        return code

    def _unregister(self, request: UnregisterMemSlot) -> UCode:
        svm = self.svms.get(request.lpid)
        if request.slotid >= SLOT_IDS:
            return U.U_P2
        if svm is None:
            return U.U_PARAMETER
        if request.slotid not in svm.slots:
            return U.U_P2
        svm.drop(request.slotid)
        return U.U_SUCCESS

    def _terminate(self, lpid: int) -> UCode:
        if self.svms.pop(lpid, None) is not None:
            return U.U_SUCCESS
        return U.U_INVALID if lpid in self.entries else U.U_PARAMETER

    async def _paging(self, request: PageIn | PageOut | PageInval, passed_over: Collection[int]) -> Reply:
        inval = isinstance(request, PageInval)
        svm = self.svms.get(request.lpid)
        if request.order != PAGE_ORDER:
            return _all(request.runs, U.U_P3 if inval else U.U_P5)
        if not isinstance(request, PageInval) and request.flags:
            return _all(request.runs, U.U_P4)
        if svm is None:
            return _all(request.runs, U.U_PARAMETER)
        if request.runs.pages > MOST_PAGES:
            return _all(request.runs, U.U_BUSY)
        asked = [(gfn, ra) for gfn, ra in placed(request.runs) if gfn not in passed_over]
        if inval:
            return _refusing((gfn, _withdraw(svm, gfn)) for gfn, _ in asked)
        wrong = {gfn: code for gfn, ra in asked if (code := self._misplaced(svm, gfn, ra))}
        fine = [(gfn, ra) for gfn, ra in asked if gfn not in wrong]
        move = self._page_in if isinstance(request, PageIn) else self._page_out
        came = await move(svm, fine)
        return _refusing((gfn, wrong.get(gfn) or came[gfn]) for gfn, _ in asked)

    def _misplaced(self, svm: PlayedSvm, gfn: int, ra: int) -> UCode | None:
        """Return what is wrong with the addresses of a page, or None."""
        if ra % PAGE_SIZE or ra & SECURE_BIT or ra < NORMAL_BASE:
            return U.U_P2
        others = (page for other in self.svms.values() for page in other.pages.values())
        own = svm.pages.get(gfn)
        if any(page.ra == ra and page.place is Place.SHARED and page is not own for page in others):
            return U.U_P2
        return None if svm.page(gfn) is not None else U.U_P3

    async def _page_in(self, svm: PlayedSvm, asked: list[tuple[int, int]]) -> dict[int, UCode]:
        content = await read_normal(self.owner, *((ra, PAGE_SIZE) for _, ra in asked)) if asked else b""
        came = {}
        for place, (gfn, ra) in enumerate(asked):
            offered = content[place * PAGE_SIZE : (place + 1) * PAGE_SIZE]
            page = svm.page(gfn)
            came[gfn] = U.U_P3 if page is None else _take(svm, gfn, page, ra, offered)
        return came

    async def _page_out(self, svm: PlayedSvm, asked: list[tuple[int, int]]) -> dict[int, UCode]:
        came: dict[int, UCode] = {}
        given: list[tuple[int, bytes]] = []
        for gfn, ra in asked:
            page = svm.page(gfn)
            if page is None or page.place is Place.OUT:
                came[gfn] = U.U_P3 if page is None else U.U_PARAMETER
                continue
            came[gfn] = U.U_STATE if svm.aborted and page.place is Place.NEW else U.U_SUCCESS
            if svm.aborted and page.place is Place.FRAME:
                given.append((ra, page.content))
            elif not svm.aborted and page.place in {Place.NEW, Place.FRAME}:
                page.place, page.sealed = Place.OUT, self.sealer.seal(page.content)
                given.append((ra, page.sealed))
        if given:
            pieces = [(ra, PAGE_SIZE) for ra, _ in given]
            await write_normal(self.owner, pieces, b"".join(content for _, content in given))
        return came


def _take(svm: PlayedSvm, gfn: int, page: Page, ra: int, offered: bytes) -> UCode:
    """Take an offered page where the GFN's state takes one."""
    shared = svm.wanted.get(gfn)
    if shared:
        page.place, page.content, page.ra = Place.SHARED, BLANK, ra
    elif page.place is Place.OUT:
        if offered != page.sealed:
            return U.U_P3
        page.place, page.sealed = Place.FRAME, b""
    elif page.place in {Place.SHARED, Place.WITHDRAWN}:
        unshared = shared is False
        page.place, page.ra = (Place.FRAME, 0) if unshared else (Place.SHARED, ra)
    elif shared is False or (svm.finishing and page.place is Place.NEW):
        page.place, page.content = Place.FRAME, offered
    else:
        return U.U_P2
    return U.U_SUCCESS


def _withdraw(svm: PlayedSvm, gfn: int) -> UCode:
    page = svm.page(gfn)
    if page is None or page.place not in {Place.SHARED, Place.WITHDRAWN}:
        return U.U_P2
    page.place, page.ra = Place.WITHDRAWN, 0
    return U.U_SUCCESS


def _all(runs: Runs, code: UCode) -> Reply:
    return Reply(code, refused=CodedRuns.of(*((row[-2], row[-1], code) for row in runs)))


def _refusing(came: Iterator[tuple[int, UCode]]) -> Reply:
    """Return the reply in which those GFNs are refused that have a code."""
    refused = [(gfn << PAGE_ORDER, 1, int(code)) for gfn, code in came if code is not U.U_SUCCESS]
    return Reply(UCode(refused[0][2]) if refused else U.U_SUCCESS, refused=CodedRuns.of(*refused))


def refusing(runs: Runs, refused: Callable[[int], UCode]) -> Reply:
    """Return the reply in which each GFN of `runs` has the code that `refused` gives it."""
    return _refusing((gfn, refused(gfn)) for gfn in gfns_of(runs))
