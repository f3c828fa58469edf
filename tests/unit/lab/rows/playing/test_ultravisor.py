"""The Ultravisor that we play answers as the documents say, or as a row says that it shall."""

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import pytest
from aiohttp import web

from pef_kit.runtime.bus import NORMAL_BASE
from pef_lab.between.server import Server
from pef_lab.failures import Unanswered
from pef_lab.rows.doors import HYPERVISOR, VMM, Answer, Doors
from pef_lab.rows.playing.pages import BLANK, Place
from pef_lab.rows.playing.ultravisor import (
    PlayedUltravisor,
    done_in_silence,
    honestly,
    meanwhile,
    refuse,
    refuse_gfns,
    silence,
)
from pef_protocol.calls import CALLS
from pef_protocol.codes import UCode
from pef_protocol.http import Role
from pef_protocol.hypercalls import SvmInitDone, SvmPageIn
from pef_protocol.quantities import (
    H_PAGE_IN_SHARED,
    PAGE_ORDER,
    PAGE_SIZE,
    SECURE_BIT,
    Gpa,
    Lpid,
    PageOrder,
    SlotId,
    gpa_of,
)
from pef_protocol.runs import PageRuns, PlacedRuns
from pef_protocol.ultracalls import (
    PageIn,
    PageInval,
    PageOut,
    RegisterMemSlot,
    SvmTerminate,
    UnregisterMemSlot,
    WritePate,
)

pytestmark = pytest.mark.sockets

LPID, OTHER = Lpid(7), Lpid(8)
TOKEN: Final = "token of the hypervisor"
TEXT: Final = b"what the guest has".ljust(PAGE_SIZE, b".")
PAGES: Final = 16


@dataclass
class Owner:
    """A Hypervisor of which there is nothing but normal memory."""

    memory: bytearray = field(default_factory=lambda: bytearray(PAGES * PAGE_SIZE))
    gone: bool = False

    async def handle(self, request: web.Request, body: bytes) -> web.StreamResponse:
        """Read or write normal memory by real address."""
        if self.gone:
            return web.Response(status=500)
        if request.path.endswith("read"):
            rows = list(struct.iter_unpack("<QQ", body))
            return web.Response(
                body=b"".join(self.page(ra)[:length] for ra, length in rows),
                content_type="application/octet-stream",
            )
        (number,) = struct.unpack_from("<Q", body)
        at = 8 + 16 * number
        for ra, length in struct.iter_unpack("<QQ", body[8:at]):
            self.memory[ra - NORMAL_BASE : ra - NORMAL_BASE + length] = body[at : at + length]
            at += length
        return web.Response(status=204)

    def page(self, ra: int) -> bytes:
        """Return the page at a real address."""
        return bytes(self.memory[ra - NORMAL_BASE : ra - NORMAL_BASE + PAGE_SIZE])


@dataclass
class World:
    """A played Ultravisor, and a Hypervisor's hand on it."""

    owner: Owner
    played: PlayedUltravisor
    doors: Doors

    async def ask(self, request: object) -> Answer:
        """Make an ultracall."""
        return await self.doors.call(HYPERVISOR, request)

    async def page_in(self, gfn: int, ra: int, flags: int | None = 0) -> str:
        """Make UV_PAGE_IN, asked for with `flags` or not at all."""
        request = PageIn(LPID, placed(ra, gfn), 0, PAGE_ORDER)
        if flags is None:
            return (await self.ask(request)).code
        asked = SvmPageIn(LPID, PageRuns.of((gpa_of(gfn), 1)), flags, PAGE_ORDER)
        with self.played.outstanding(asked):
            return (await self.ask(request)).code

    async def page_out(self, gfn: int, ra: int) -> str:
        """Make UV_PAGE_OUT."""
        return (await self.ask(PageOut(LPID, placed(ra, gfn), 0, PAGE_ORDER))).code

    def place(self, gfn: int) -> Place:
        """Return where the bytes of a GFN are."""
        svm = self.played.svm(LPID)
        assert svm is not None
        return svm.pages[gfn].place


def at(number: int) -> int:
    """Return the real address of a normal page."""
    return NORMAL_BASE + number * PAGE_SIZE


def placed(ra: int, gfn: int) -> PlacedRuns:
    return PlacedRuns.of((ra, gpa_of(gfn), 1))


@asynccontextmanager
async def started() -> AsyncIterator[World]:
    owner = Owner()
    async with Server(owner.handle) as server:
        at_owner = Doors("Hypervisor", server.url, {Role.ULTRAVISOR: "any"}, "key", 10)
        async with PlayedUltravisor(at_owner, TOKEN) as played:
            doors = Doors("Ultravisor", played.url, {Role.HYPERVISOR: TOKEN, Role.VMM: "another"}, "key", 10)
            yield World(owner, played, doors)
            await doors.close()
            await at_owner.close()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with started() as world:
        await world.ask(WritePate(LPID, 1, 1))
        world.played.begin(LPID)
        await world.ask(RegisterMemSlot(LPID, Gpa(0), 8 * PAGE_SIZE, 0, SlotId(1)))
        world.owner.memory[:PAGE_SIZE] = TEXT
        yield world


async def test_what_it_is_asked_for_it_takes_gives_sealed_and_takes_back(world: World) -> None:
    assert await world.page_in(2, at(0)) == "U_SUCCESS"
    assert await world.page_out(2, at(1)) == "U_SUCCESS"
    sealed = world.owner.page(at(1))
    assert (sealed in {TEXT, BLANK}, world.place(2)) == (False, Place.OUT)
    assert await world.page_out(2, at(2)) == "U_PARAMETER"
    assert await world.page_in(2, at(0)) == "U_P3"
    assert await world.page_in(2, at(1)) == "U_SUCCESS"
    svm = world.played.svm(LPID)
    assert svm is not None
    assert svm.pages[2].content == TEXT
    await world.page_out(2, at(3))
    assert world.owner.page(at(3)) != sealed


async def test_what_nobody_asked_for_it_does_not_take(world: World) -> None:
    assert await world.page_in(2, at(0), flags=None) == "U_P2"
    await world.page_in(2, at(0))
    assert await world.page_in(2, at(0), flags=None) == "U_P2"
    with world.played.outstanding(SvmInitDone(LPID)):
        assert await world.page_in(2, at(0), flags=None) == "U_P2"
        assert await world.page_in(3, at(0), flags=None) == "U_SUCCESS"


async def test_a_shared_page_is_mapped_withdrawn_mapped_again_and_taken_back(world: World) -> None:
    assert await world.page_in(2, at(0), H_PAGE_IN_SHARED) == "U_SUCCESS"
    inval = PageInval(LPID, PageRuns.of((gpa_of(2), 1)), PAGE_ORDER)
    assert [(await world.ask(inval)).code for _ in range(2)] == ["U_SUCCESS", "U_SUCCESS"]
    assert world.place(2) is Place.WITHDRAWN
    assert await world.page_in(2, at(0), flags=None) == "U_SUCCESS"
    assert world.place(2) is Place.SHARED
    assert await world.page_out(2, at(1)) == "U_SUCCESS"
    assert world.owner.page(at(1)) == BLANK
    assert await world.page_in(3, at(0)) == "U_P2"
    assert await world.page_in(2, at(0)) == "U_SUCCESS"
    assert world.place(2) is Place.FRAME
    assert (await world.ask(inval)).code == "U_P2"


async def test_after_a_failed_uv_esm_pages_come_in_clear(world: World) -> None:
    await world.page_in(2, at(0))
    svm = world.played.svm(LPID)
    assert svm is not None
    svm.aborted = True
    assert await world.page_out(2, at(1)) == "U_SUCCESS"
    assert (world.owner.page(at(1)), world.place(2)) == (TEXT, Place.FRAME)
    assert await world.page_out(3, at(1)) == "U_STATE"


REFUSED: Final[dict[str, tuple[object, str]]] = {
    "order": (PageIn(LPID, placed(at(0), 2), 0, PageOrder(12)), "U_P5"),
    "flags": (PageOut(LPID, placed(at(0), 2), 1, PAGE_ORDER), "U_P4"),
    "ra": (PageIn(LPID, placed(at(0) | SECURE_BIT, 2), 0, PAGE_ORDER), "U_P2"),
    "ra zero": (PageOut(LPID, placed(0, 2), 0, PAGE_ORDER), "U_P2"),
    "lpid": (PageIn(OTHER, placed(at(0), 2), 0, PAGE_ORDER), "U_PARAMETER"),
    "gpa": (PageIn(LPID, placed(at(0), 99), 0, PAGE_ORDER), "U_P3"),
    "inval order": (PageInval(LPID, PageRuns.of((0, 1)), PageOrder(12)), "U_P3"),
    "slot start": (RegisterMemSlot(LPID, Gpa(1), PAGE_SIZE, 0, SlotId(2)), "U_P2"),
    "slot size": (RegisterMemSlot(LPID, gpa_of(64), 0, 0, SlotId(2)), "U_P3"),
    "slot flags": (RegisterMemSlot(LPID, gpa_of(64), PAGE_SIZE, 1, SlotId(2)), "U_P4"),
    "slot id": (RegisterMemSlot(LPID, gpa_of(64), PAGE_SIZE, 0, SlotId(512)), "U_P5"),
    "slot in use": (RegisterMemSlot(LPID, gpa_of(64), PAGE_SIZE, 0, SlotId(1)), "U_P5"),
    "slot overlaps": (RegisterMemSlot(LPID, gpa_of(7), PAGE_SIZE, 0, SlotId(2)), "U_P2"),
    "slot of no SVM": (RegisterMemSlot(OTHER, gpa_of(64), PAGE_SIZE, 0, SlotId(2)), "U_PARAMETER"),
    "no such slot": (UnregisterMemSlot(LPID, SlotId(2)), "U_P2"),
    "entry of an SVM": (WritePate(LPID, 1, 1), "U_PERMISSION"),
    "end of nothing": (SvmTerminate(OTHER), "U_PARAMETER"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_it_refuses_as_any_ultravisor_does(world: World, name: str) -> None:
    request, code = REFUSED[name]
    assert (await world.ask(request)).code == code


async def test_an_svm_ends_once(world: World) -> None:
    assert (await world.ask(SvmTerminate(LPID))).code == "U_SUCCESS"
    assert (await world.ask(SvmTerminate(LPID))).code == "U_INVALID"


async def test_it_answers_as_it_is_told_as_often_as_it_is_told_and_keeps_what_it_heard(world: World) -> None:
    number = world.played.number
    world.played.answers("UV_PAGE_IN", refuse(UCode.U_BUSY), honestly, refuse(UCode.U_P2), lpid=LPID)
    codes = [await world.page_in(2, at(0)) for _ in range(4)]
    assert codes == ["U_BUSY", "U_SUCCESS", "U_P2", "U_SUCCESS"]
    heard = world.played.since(number, LPID)
    assert [(each.name, each.code) for each in heard] == [("UV_PAGE_IN", UCode[code]) for code in codes]
    assert world.played.since(number, OTHER) == ()


async def test_some_gfns_are_refused_and_the_rest_is_done(world: World) -> None:
    world.played.answers("UV_PAGE_IN", refuse_gfns(UCode.U_P3, 3))
    runs = PlacedRuns.of((at(0), gpa_of(2), 3))
    asked = SvmPageIn(LPID, PageRuns.of((gpa_of(2), 3)), 0, PAGE_ORDER)
    with world.played.outstanding(asked):
        answer = await world.ask(PageIn(LPID, runs, 0, PAGE_ORDER))
    assert (answer.code, answer.refused) == ("U_P3", ((gpa_of(3), 1, int(UCode.U_P3)),))
    assert [world.place(gfn) for gfn in (2, 4)] == [Place.FRAME, Place.FRAME]


@pytest.mark.parametrize(("answer", "done"), [(silence, False), (done_in_silence, True)])
async def test_silence_is_no_answer(world: World, answer: object, *, done: bool) -> None:
    world.played.answers("UV_UNREGISTER_MEM_SLOT", answer)  # type: ignore[arg-type]
    with pytest.raises(Unanswered):
        await world.ask(UnregisterMemSlot(LPID, SlotId(1)))
    svm = world.played.svm(LPID)
    assert svm is not None
    assert (svm.slots == {}) is done


async def test_something_is_done_while_a_call_is_outstanding(world: World) -> None:
    told: list[str] = []

    async def other() -> None:
        told.append((await world.ask(SvmTerminate(OTHER))).code)

    world.played.answers("UV_WRITE_PATE", meanwhile(other))
    assert (await world.ask(WritePate(OTHER, 1, 1))).code == "U_SUCCESS"
    assert told == ["U_PARAMETER"]


async def test_nobody_but_the_hypervisor_is_heard(world: World) -> None:
    number = world.played.number
    assert (await world.doors.call(VMM, SvmTerminate(LPID))).code == "HTTP 401"
    assert world.played.number == number


async def test_an_owner_that_gives_no_memory_is_no_finding_but_a_fault(world: World) -> None:
    world.owner.gone = True
    with pytest.raises(Unanswered, match="played Ultravisor"):
        await asked_and_refused(world)


async def asked_and_refused(world: World) -> None:
    asked = SvmPageIn(LPID, PageRuns.of((gpa_of(2), 1)), 0, PAGE_ORDER)
    with world.played.outstanding(asked), pytest.raises(Unanswered, match="no answer"):
        await world.ask(PageIn(LPID, placed(at(0), 2), 0, PAGE_ORDER))


def test_every_answer_that_it_may_give_is_one_of_its_call() -> None:
    for request, code in REFUSED.values():
        call = next(call for call in CALLS.values() if isinstance(request, call.request))
        assert UCode[code] in call.codes
