"""The peer over real sockets: down, mute, garbled, endless; and bursts of nested calls over small pools."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from harness.in_process import GUEST_KEY, asked, new_peer, toy_service
from harness.loopback import Misbehave, misbehaving, served, unused_url
from pef_kit.core.effects import Backoff, Effect, Operation, PeerCall, PeerFailure, ask
from pef_kit.runtime.peer import Peer
from pef_protocol.auth import mint_guest_token
from pef_protocol.calls import CALLS, Reply
from pef_protocol.events import Side
from pef_protocol.http import Caller, Role
from pef_protocol.hypercalls import SvmInitDone, SvmInitStart, SvmPageIn
from pef_protocol.runs import PageRuns, PlacedRuns
from pef_protocol.ultracalls import PageIn, RegisterMemSlot

pytestmark = pytest.mark.sockets

DONE = SvmInitDone(7)  # type: ignore[arg-type]
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


def saying(content: bytes) -> Misbehave:
    """Return a peer that says `content` and closes."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(content)
        await writer.drain()

    return answer


async def mute(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    """Never answer."""
    await asyncio.Event().wait()


async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer for ever."""
    writer.write(HEAD + b"transfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1\r\n \r\n" * 10_000)
        await writer.drain()  # which goes on until the socket is full: small pieces keep the loop for seconds


async def cut(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Promise more than is sent, and say no more."""
    writer.write(HEAD + b"content-length: 100\r\n\r\n{")
    await asyncio.Event().wait()


MISBEHAVING: dict[str, tuple[Misbehave, str | tuple[str, ...]]] = {
    "hangs up": (saying(b""), "no connection"),
    "garbage": (saying(b"SSH-2.0-OpenSSH\r\n\r\n"), "no connection"),
    "no status": (saying(b"HTTP/1.1 abc\r\n\r\n"), "no connection"),
    "bad header": (saying(HEAD + b"content-length: -1\r\n\r\n"), "no connection"),
    "bad chunk": (saying(HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n"), "no connection"),
    "hangs up early": (saying(HEAD + b"content-length: 9\r\n\r\n{"), "no connection"),
    "mute": (mute, "no answer within 0.2 s"),
    "endless": (endless, ("no answer within 0.2 s", "an answer of over")),
    "stops": (cut, "no answer within 0.2 s"),
}


async def failure_at(url: str) -> PeerFailure:
    """Return how a call to `url` fails, bounded by the peer's own 0.2 s."""
    peer = new_peer(url, role=Role.ULTRAVISOR, timeout=0.2)
    try:
        async with asyncio.timeout(60):
            with pytest.raises(PeerFailure) as caught:
                await peer.call(asked("H_SVM_INIT_DONE", DONE))
    finally:
        await peer.close()
    assert (caught.value.call, caught.value.peer) == ("H_SVM_INIT_DONE", "hypervisor")
    return caught.value


@pytest.mark.parametrize(("answer", "reason"), MISBEHAVING.values(), ids=MISBEHAVING.keys())
async def test_a_peer_that_misbehaves_is_a_failure_in_time(
    answer: Misbehave, reason: str | tuple[str, ...]
) -> None:
    async with misbehaving(answer) as url:
        assert (await failure_at(url)).reason.startswith(reason)


async def test_a_peer_that_is_down_is_a_failure() -> None:
    assert (await failure_at(unused_url())).reason.startswith("no connection (ClientConnectorError")


@pytest.mark.parametrize("answer", [content for content, _ in MISBEHAVING.values()], ids=MISBEHAVING.keys())
@pytest.mark.parametrize("way", ["send", "receive"])
async def test_a_bus_that_misbehaves_is_a_failure_or_a_wrong_number_of_bytes(
    answer: Misbehave, way: str
) -> None:
    """An endless body is for the reader to end: the bus knows how many bytes it wants."""

    async def content() -> AsyncIterator[bytes]:
        yield b"rows"

    async def transfer(peer: Peer) -> None:
        if way == "send":
            await peer.send("/bus", content(), len(b"rows"))
            return
        taken = 0
        async for piece in peer.receive("/bus", b"rows"):
            taken += len(piece)
            if taken > 100:
                raise PeerFailure("/bus", "hypervisor", "wrong number of bytes")

    async with misbehaving(answer) as url:
        peer = new_peer(url, role=Role.ULTRAVISOR, timeout=0.2)
        try:
            async with asyncio.timeout(60):
                with pytest.raises(PeerFailure, match=r"^/bus to hypervisor: "):
                    await transfer(peer)
        finally:
            await peer.close()


RUN = PageRuns.of((0, 1))
PLACED = PlacedRuns.of((1 << 32, 0, 1))
CHAIN: dict[str, tuple[str, object]] = {
    "UV_ESM": ("H_SVM_INIT_START", SvmInitStart(7)),  # type: ignore[arg-type]
    "H_SVM_INIT_START": ("UV_REGISTER_MEM_SLOT", RegisterMemSlot(7, 0, 65536, 0, 0)),  # type: ignore[arg-type]
    "UV_REGISTER_MEM_SLOT": ("H_SVM_PAGE_IN", SvmPageIn(7, RUN, 0, 16)),  # type: ignore[arg-type]
    "H_SVM_PAGE_IN": ("UV_PAGE_IN", PageIn(7, PLACED, 0, 16)),  # type: ignore[arg-type]
}
"""What each call of a plugged slot nests in itself: guest, A, B, A, B, A."""


def nest(_: Caller, name: str, __: Any) -> Operation[Reply]:
    """Ask what the call nests; the innermost waits until as many of its kind are there as a pool holds."""
    if name in CHAIN:
        asked, request = CHAIN[name]
        reply = yield from ask(asked, request)
        assert reply == Reply(CALLS[asked].success)
    else:
        yield Backoff(0)
    return Reply(CALLS[name].success)


async def test_bursts_of_nested_calls_over_small_pools_do_not_lock_each_other() -> None:
    connections, guests = 4, 64
    peers: dict[Side, Peer] = {}
    innermost = asyncio.Barrier(connections)
    rounds: list[int] = []

    async def performed(to: Side, effect: Effect) -> Any:
        if isinstance(effect, PeerCall):
            return await peers[to].call(effect)
        rounds.append(await innermost.wait())
        return None

    async def by_uv(effect: Effect) -> Any:
        return await performed(Side.HYPERVISOR, effect)

    async def by_hv(effect: Effect) -> Any:
        return await performed(Side.ULTRAVISOR, effect)

    uv = toy_service(nest, perform=by_uv)
    hv = toy_service(nest, side=Side.HYPERVISOR, perform=by_hv)
    token = mint_guest_token(GUEST_KEY, 7)
    async with served(uv.app) as uv_url, served(hv.app) as hv_url:
        peers[Side.ULTRAVISOR] = new_peer(uv_url, connections=connections, timeout=20)
        peers[Side.HYPERVISOR] = new_peer(hv_url, role=Role.ULTRAVISOR, connections=connections, timeout=20)
        async with httpx.AsyncClient(base_url=uv_url, headers={"authorization": f"Bearer {token}"}) as client:
            body = {"kernel_base": 65536, "fdt": 8}
            asked = [client.post("/v1/ultracalls/UV_ESM", json=body, timeout=60) for _ in range(guests)]
            answers = await asyncio.gather(*asked)
        for peer in peers.values():
            await peer.close()
    assert {answer.text for answer in answers} == {answers[0].text}
    assert answers[0].json()["code"] == {"name": "U_SUCCESS", "number": 0}
    assert sorted(rounds) == sorted([*range(connections)] * (guests // connections))
    depths = [event["depth"] for service in (uv, hv) for event in service.observer.since(0)]
    assert sorted(depths) == sorted([*range(5)] * guests * 2)
