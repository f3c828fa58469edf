"""The Hypervisor that rows play: honest unless a row says otherwise, and the owner of normal memory."""

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from pef_kit.runtime.bus import NORMAL_BASE
from pef_lab.between.server import Server
from pef_lab.rows.doors import ULTRAVISOR, Answer, Doors
from pef_lab.rows.playing.host import SlotPlan
from pef_lab.rows.playing.hypervisor import PlayedHypervisor
from pef_lab.rows.playing.normal_memory import read_normal, write_normal
from pef_lab.rows.playing.script import Held, pretend, refuse
from pef_protocol.codes import HCode, UCode
from pef_protocol.http import Role
from pef_protocol.hypercalls import SvmInitAbort, SvmInitDone, SvmInitStart, SvmPageIn, SvmPageOut
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, Lpid, gpa_of
from pef_protocol.runs import PageRuns

TOKEN = "the-ultravisors-own"
STARTED = HCode.H_SUCCESS.name


class YesSayer:
    """An Ultravisor that keeps what it is asked, and says that all of it is done, but for codes given."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.codes: dict[str, UCode] = {}
        self.refused: list[list[int]] = []

    async def answer(self, request: web.Request, body: bytes) -> web.StreamResponse:
        name = request.path.rpartition("/")[2]
        self.asked.append((name, json.loads(body)))
        code = self.codes.get(name, UCode.U_SUCCESS)
        told = {
            "call": name,
            "code": {"name": code.name, "number": int(code)},
            "outputs": {},
            "refused": self.refused if name in self.codes else [],
            "detail": "",
        }
        return web.json_response(told)

    def since(self, place: int) -> list[str]:
        return [name for name, _ in self.asked[place:]]


class Scene:
    """The played Hypervisor between an Ultravisor that says yes and us, who speak as that Ultravisor."""

    def __init__(self, uv: YesSayer, hv: PlayedHypervisor, doors: Doors) -> None:
        self.uv, self.hv, self.doors = uv, hv, doors

    async def ask(self, request: object) -> Answer:
        return await self.doors.call(ULTRAVISOR, request)

    async def vm(self, *slots: SlotPlan) -> Lpid:
        return Lpid(await self.hv.new_vm(*(slots or (SlotPlan(0, 0, 16),))))


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    uv = YesSayer()
    async with Server(uv.answer) as server:
        towards = Doors("Ultravisor", server.url, {Role.HYPERVISOR: "the-hypervisors-own"}, "", 5)
        async with PlayedHypervisor(towards, TOKEN) as hv:
            doors = Doors("Hypervisor", hv.url, {Role.ULTRAVISOR: TOKEN}, "", 5)
            yield Scene(uv, hv, doors)
            await doors.close()
        await towards.close()


def page_in(lpid: Lpid, *gfns: int, flags: int = 0) -> SvmPageIn:
    return SvmPageIn(lpid, PageRuns.of(*((gpa_of(gfn), 1) for gfn in gfns)), flags, PAGE_ORDER)


async def test_slots_are_registered_from_the_highest_down(scene: Scene) -> None:
    lpid = await scene.vm(SlotPlan(0, 0, 16), SlotPlan(1, 64, 4))
    before = len(scene.uv.asked)
    assert (await scene.ask(SvmInitStart(lpid))).code == STARTED
    slots = [form["slotid"] for _, form in scene.uv.asked[before:]]
    assert scene.uv.since(before) == ["UV_REGISTER_MEM_SLOT"] * 2
    assert slots == [1, 0]


async def test_pages_are_brought_and_taken_within_the_hypercall(scene: Scene) -> None:
    lpid = await scene.vm()
    await scene.hv.write(lpid, gpa_of(3), b"bytes of the guest")
    before = len(scene.uv.asked)
    assert (await scene.ask(page_in(lpid, 3))).code == STARTED
    name, form = scene.uv.asked[-1]
    assert (name, form["runs"]) == ("UV_PAGE_IN", [[scene.hv.vm(lpid).ra(3), gpa_of(3), 1]])
    assert await scene.hv.read(lpid, gpa_of(3), 18) == bytes(18)
    assert (await scene.ask(page_in(lpid, 3))).code == HCode.H_PARAMETER.name
    runs = PageRuns.of((gpa_of(3), 1))
    assert (await scene.ask(SvmPageOut(lpid, runs, 0, PAGE_ORDER))).code == STARTED
    assert scene.uv.since(before) == ["UV_PAGE_IN", "UV_PAGE_OUT"]
    assert scene.hv.vm(lpid).letters[3] == "P"


async def test_a_busy_page_is_busy_and_the_others_are_brought(scene: Scene) -> None:
    lpid = await scene.vm()
    scene.uv.codes["UV_PAGE_IN"] = UCode.U_BUSY
    scene.uv.refused = [[gpa_of(4), 1, int(UCode.U_BUSY)]]
    answer = await scene.ask(page_in(lpid, 3, 4))
    assert (answer.code, answer.refused) == ("H_BUSY", ((gpa_of(4), 1, int(HCode.H_BUSY)),))
    assert dict(scene.hv.vm(lpid).letters) == {3: "S", 4: "N"}


async def test_a_page_that_is_offered_to_be_shared_is_not_clean(scene: Scene) -> None:
    lpid = await scene.vm()
    await scene.ask(page_in(lpid, 3))
    await scene.ask(page_in(lpid, 3, flags=1))
    assert any(await scene.hv.read(lpid, gpa_of(3), PAGE_SIZE))


async def test_a_failed_start_of_an_svm_gives_its_memory_back(scene: Scene) -> None:
    lpid = await scene.vm()
    await scene.ask(page_in(lpid, 3, 4))
    before = len(scene.uv.asked)
    assert (await scene.ask(SvmInitAbort(lpid))).code == HCode.H_PARAMETER.name
    assert scene.uv.since(before) == ["UV_PAGE_OUT", "UV_SVM_TERMINATE"]
    await scene.ask(SvmInitDone(lpid))
    assert (await scene.ask(SvmInitAbort(lpid))).code == HCode.H_STATE.name


async def test_what_is_said_beforehand_is_answered_once(scene: Scene) -> None:
    lpid = await scene.vm()
    scene.hv.next(lpid, "H_SVM_PAGE_IN", refuse(HCode.H_BUSY), pretend())
    before = len(scene.uv.asked)
    codes = [(await scene.ask(page_in(lpid, 3))).code for _ in range(3)]
    assert codes == ["H_BUSY", "H_SUCCESS", "H_SUCCESS"]
    assert scene.uv.since(before) == ["UV_PAGE_IN"]


async def test_some_pages_may_be_refused(scene: Scene) -> None:
    lpid = await scene.vm()
    scene.hv.next(lpid, "H_SVM_PAGE_IN", scene.hv.only(lpid, 3))
    answer = await scene.ask(page_in(lpid, 3, 4, flags=1))
    assert answer.code == HCode.H_PARAMETER.name
    assert answer.refused == ((gpa_of(4), 1, int(HCode.H_PARAMETER)),)
    assert scene.hv.vm(lpid).letters[3] == "H"


@pytest.mark.parametrize("done_first", [False, True])
async def test_a_hypercall_is_held_before_its_deed_or_after(scene: Scene, done_first: bool) -> None:
    lpid = await scene.vm()
    held = Held(done_first=done_first)
    scene.hv.next(lpid, "H_SVM_PAGE_IN", held)
    before = len(scene.uv.asked)
    task = asyncio.create_task(scene.ask(page_in(lpid, 3)))
    await held.arrived.wait()
    assert scene.uv.since(before) == (["UV_PAGE_IN"] if done_first else [])
    assert not task.done()
    held.release.set()
    assert (await task).code == STARTED
    assert scene.uv.since(before) == ["UV_PAGE_IN"]


async def test_the_end_of_a_vm_lets_go_of_what_is_held(scene: Scene) -> None:
    lpid = await scene.vm()
    held = Held(instead=HCode.H_STATE)
    scene.hv.next(lpid, "H_SVM_PAGE_IN", held)
    task = asyncio.create_task(scene.ask(page_in(lpid, 3)))
    await held.arrived.wait()
    await scene.hv.destroy(lpid)
    assert (await task).code == HCode.H_STATE.name
    assert (await scene.ask(page_in(lpid, 3))).code == HCode.H_UNSUPPORTED.name
    assert (await scene.ask(SvmInitStart(lpid))).code == HCode.H_PARAMETER.name


async def test_normal_memory_is_served_by_real_address(scene: Scene) -> None:
    ra = await scene.hv.spare(3)
    await write_normal(scene.doors, [(ra, 4), (ra + 2 * PAGE_SIZE, 4)], b"headtail")
    assert await scene.hv.peek(ra, 4) == b"head"
    assert await read_normal(scene.doors, (ra + 2 * PAGE_SIZE, 4), (ra, 4)) == b"tailhead"


@pytest.mark.parametrize("ra", [0, NORMAL_BASE - PAGE_SIZE, 1 << 48, (1 << 64) - PAGE_SIZE])
async def test_what_is_no_normal_memory_is_not_served(scene: Scene, ra: int) -> None:
    path = "/v1/normal-memory/read"
    answer = await scene.doors.ask(ULTRAVISOR, "POST", path, content=struct.pack("<QQ", ra, PAGE_SIZE))
    assert answer.status_code == 422


async def test_bytes_on_their_way_are_held(scene: Scene) -> None:
    lpid = await scene.vm()
    ra = await scene.hv.spare()
    held = scene.hv.hold_bus(lpid, ra)
    task = asyncio.create_task(read_normal(scene.doors, (ra, PAGE_SIZE)))
    await held.arrived.wait()
    await scene.hv.poke(ra, b"late")
    held.release.set()
    assert (await task)[:4] == b"late"


async def test_only_the_ultravisor_is_heard(scene: Scene) -> None:
    lpid = await scene.vm()
    stranger = Doors("Hypervisor", scene.hv.url, {Role.ULTRAVISOR: "somebody else's"}, "", 5)
    assert (await stranger.call(ULTRAVISOR, page_in(lpid, 3))).code == "HTTP 401"
    assert scene.hv.vm(lpid).asked == []
    await stranger.close()
