"""Whoever stands on the wire: a server, a go-between, and one that lies by a script, on real sockets."""

import asyncio
from collections.abc import AsyncIterator
from typing import NoReturn

import httpx
import pytest
from aiohttp import web

from pef_lab.between.fault_injections import (
    after,
    before,
    claim,
    doubled,
    dropped,
    forgotten,
    garbage,
    html,
    in_part,
    instead,
    late,
    silent,
    unanswered,
)
from pef_lab.between.go_between import Conduct, GoBetween
from pef_lab.between.passing import Passing
from pef_lab.between.script import ScriptedBetween
from pef_lab.between.server import Server
from pef_lab.between.wire import ports_of
from pef_lab.failures import WrongInput
from pef_protocol.codes import HCode
from pef_protocol.events import Side
from pef_protocol.http import HYPERCALL_PATH

pytestmark = pytest.mark.sockets
NAME = "H_SVM_PAGE_IN"
PATH = HYPERCALL_PATH + NAME
CALL = {"lpid": 1, "runs": [[0, 1], [65536, 2]], "flags": 0, "order": 16}


class Service:
    """A service that tells how often it was asked, and answers every call the same."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.asked = asyncio.Event()

    async def answer(self, request: web.Request, body: bytes) -> web.StreamResponse:
        self.bodies.append(body)
        self.asked.set()
        return await claim(HCode.H_SUCCESS)(Passing(Side.HYPERVISOR, request, body, never, never_later))


async def never(*_: object) -> NoReturn:
    raise AssertionError


def never_later(_: object) -> None:
    raise AssertionError


@pytest.fixture
async def service() -> AsyncIterator[tuple[Service, str]]:
    served = Service()
    async with Server(served.answer) as server:
        yield served, server.url


@pytest.fixture
async def between(service: tuple[Service, str]) -> AsyncIterator[ScriptedBetween]:
    async with ScriptedBetween(Side.HYPERVISOR) as one:
        one.upstream = service[1]
        yield one


async def ask(url: str, time_limit: float = 30) -> httpx.Response:
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=time_limit) as client:
        return await client.post(PATH, json=CALL)


async def test_what_no_script_speaks_of_passes_and_is_kept(
    service: tuple[Service, str], between: ScriptedBetween
) -> None:
    response = await ask(between.url)
    assert response.json()["code"]["name"] == "H_SUCCESS"
    assert len(service[0].bodies) == 1
    assert [each.form() for each in between.exchanges] == [CALL]
    assert between.names == [NAME]


async def test_a_script_is_followed_in_its_order(between: ScriptedBetween) -> None:
    between.always(NAME, claim(HCode.H_STATE))
    between.answers(NAME, claim(HCode.H_BUSY), claim(HCode.H_P2))
    between.at(4, claim(HCode.H_P3))
    seen = [(await ask(between.url)).json()["code"]["name"] for _ in range(5)]
    assert seen == ["H_BUSY", "H_P2", "H_STATE", "H_P3", "H_STATE"]
    between.honest_again()
    assert (await ask(between.url)).json()["code"]["name"] == "H_SUCCESS"
    assert between.names == [NAME]


@pytest.mark.parametrize(
    ("action", "carried_out"), [(dropped, 0), (forgotten, 1)], ids=["dropped", "forgotten"]
)
async def test_a_broken_connection_is_no_answer(
    service: tuple[Service, str], between: ScriptedBetween, action: Conduct, carried_out: int
) -> None:
    between.answers(NAME, action)
    with pytest.raises(httpx.RemoteProtocolError):
        await ask(between.url)
    assert len(service[0].bodies) == carried_out


@pytest.mark.parametrize(("action", "carried_out"), [(silent, 0), (unanswered, 1), (late, 1)])
async def test_silence_lasts_until_whoever_asked_gives_up(
    service: tuple[Service, str], between: ScriptedBetween, action: Conduct, carried_out: int
) -> None:
    between.answers(NAME, action)
    with pytest.raises(httpx.ReadTimeout):
        await ask(between.url, time_limit=0.2)
    await between.settled()
    assert len(service[0].bodies) == carried_out


@pytest.mark.parametrize(
    ("action", "text", "carried_out"),
    [
        (html, "<html><body>It works!</body></html>", 0),
        (garbage(b"{"), "{", 0),
    ],
    ids=["html", "garbage"],
)
async def test_nonsense_is_answered_in_place_of_the_service(
    service: tuple[Service, str], between: ScriptedBetween, action: Conduct, text: str, carried_out: int
) -> None:
    between.answers(NAME, action)
    assert (await ask(between.url)).text == text
    assert len(service[0].bodies) == carried_out


async def test_actions_are_done_before_after_and_instead(
    service: tuple[Service, str], between: ScriptedBetween
) -> None:
    seen: list[int] = []

    async def count(_: Passing) -> None:
        seen.append(len(service[0].bodies))

    between.answers(NAME, before(count), after(count), instead(count, HCode.H_P2), doubled)
    codes = [(await ask(between.url)).json()["code"]["name"] for _ in range(4)]
    assert codes == ["H_SUCCESS", "H_SUCCESS", "H_P2", "H_SUCCESS"]
    assert seen == [0, 2, 2]
    assert len(service[0].bodies) == 4


async def test_a_call_carried_out_in_part_refuses_its_last_run(
    service: tuple[Service, str], between: ScriptedBetween
) -> None:
    between.answers(NAME, in_part(HCode.H_BUSY))
    answer = (await ask(between.url)).json()
    assert answer["code"]["name"] == "H_BUSY"
    assert answer["refused"] == [[65536, 2, int(HCode.H_BUSY)]]
    assert b"65536" not in service[0].bodies[0]


async def test_a_service_that_is_not_there_is_as_one_that_breaks_the_connection() -> None:
    async def honest(passing: Passing) -> web.StreamResponse:
        return (await passing.forward()).response()

    async with Server(never) as gone:
        pass
    async with GoBetween(Side.HYPERVISOR, honest) as between:
        between.upstream = gone.url
        with pytest.raises(httpx.RemoteProtocolError):
            await ask(between.url)


def test_half_of_a_running_pair_is_refused() -> None:
    assert ports_of(None, None, None, None) is None
    with pytest.raises(WrongInput, match="takes --between-ultravisor"):
        ports_of("http://127.0.0.1:1", None, None, None)
    with pytest.raises(WrongInput, match="two ports"):
        ports_of(None, None, 7, 7)
    with pytest.raises(WrongInput, match="takes --between-ultravisor"):
        ports_of(None, None, None, None, "0.0.0.0")  # noqa: S104
