"""What names a VM that is gone, or bytes that are under way: attacks 47, 50, 53, 54 and 61."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx
import pytest

from model.live import LivePair, LivePlan, live_pair
from model.live_vm import FREE, secure_vm
from pef_kit.peer import encode_call
from pef_lab.between.misdeeds import before, instead
from pef_lab.between.passing import Passing
from pef_lab.failures import Refusal, Unanswered
from pef_lab.hostile.requests import page_in
from pef_protocol.calls import CALLS, Reply
from pef_protocol.codes import HCode, UCode
from pef_protocol.quantities import PAGE_SIZE, Lpid, gpa_of
from pef_protocol.ultracalls import SvmTerminate
from pef_protocol.wire import EPOCH, ULTRACALL_PATH

pytestmark = [pytest.mark.sockets, pytest.mark.slow]

ONE, TWO = FREE, FREE + 1
LONG = 32 << 20
TOKENS = pytest.mark.xfail(reason="tokens name no incarnation yet", strict=True)
LIMITS = pytest.mark.xfail(reason="calls have no limits of their own yet", strict=True)


async def raw(pair: LivePair, path: str, lines: list[str], body: bytes) -> bytes:
    """Send a POST of the Hypervisor's and close our half; return all that comes back."""
    where = urlsplit(pair.endpoints.ultravisor_url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    head = [f"POST {path} HTTP/1.1", "host: here", f"authorization: Bearer {pair.tokens['HYPERVISOR']}"]
    writer.write("\r\n".join([*head, *lines, "", ""]).encode() + body)
    writer.write_eof()
    try:
        return await reader.read()
    finally:
        writer.close()


@TOKENS
async def test_47_the_token_of_a_vm_that_was_destroyed(pair: LivePair) -> None:
    async with secure_vm(pair) as vm:
        await vm.write(ONE)
        await pair.vmm.destroy(vm.lpid)
        digests = await pair.digests()
        with pytest.raises(Unanswered, match="401"):
            await vm.load(ONE)
        with pytest.raises(Unanswered, match="401"):
            await vm.guest.share(ONE)
        assert await pair.digests() == digests


@LIMITS
async def test_50_a_long_body_to_a_short_call(pair: LivePair) -> None:
    digests = await pair.digests()
    headers = {"authorization": f"Bearer {pair.tokens['HYPERVISOR']}"}
    async with httpx.AsyncClient(
        base_url=pair.endpoints.ultravisor_url, headers=headers, trust_env=False
    ) as client:
        response = await client.post(ULTRACALL_PATH + "UV_SVM_TERMINATE", content=b" " * LONG)
    assert response.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE
    assert await pair.digests() == digests


async def test_53_a_body_that_is_announced_and_never_sent_behind_an_upgrade(pair: LivePair) -> None:
    digests = await pair.digests()
    form = encode_call(CALLS["UV_SVM_TERMINATE"], SvmTerminate(Lpid(4000)))
    epoch = pair.as_hypervisor._epoch[EPOCH]
    came = await raw(
        pair,
        form["url"],
        [
            *("connection: upgrade", "upgrade: h2c", "content-type: application/json"),
            *(f"content-length: {LONG}", f"{EPOCH}: {epoch}"),
        ],
        form["content"],
    )
    assert not came.startswith(b"HTTP/1.1 2")
    assert came.count(b"HTTP/1.1") <= 1
    assert await pair.digests() == digests


@pytest.fixture(scope="module")
async def over_http() -> AsyncIterator[LivePair]:
    """Start a pair whose bytes travel as messages, which can be held."""
    async with live_pair(LivePlan(mapped=False)) as running:
        yield running


@pytest.mark.xfail(reason="a page that bytes go to is not in flight yet", strict=True)
async def test_54_the_target_of_a_page_out_is_offered_for_another_vm_meanwhile(over_http: LivePair) -> None:
    pair = over_http
    async with secure_vm(pair) as vm, secure_vm(pair) as other:
        await vm.write(ONE)
        await other.write(TWO)
        replies: list[Reply] = []

        async def offer(_: Passing) -> None:
            replies.append(await pair.ultracall(page_in(other.lpid, TWO, vm.ra(ONE))))

        async def share_meanwhile(_: Passing) -> None:
            pair.to_hypervisor.answers("H_SVM_PAGE_IN", instead(offer, HCode.H_PARAMETER))
            with pytest.raises(Refusal):
                await other.guest.share(TWO)

        pair.to_hypervisor.answers("write", before(share_meanwhile))
        await vm.host_read(ONE)
        assert [reply.code for reply in replies] == [UCode.U_P2]
        await vm.reads_what_it_wrote()
        await other.reads_what_it_wrote()


@TOKENS
async def test_61_a_body_that_trickles_while_its_vm_is_destroyed(pair: LivePair) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()

    async def trickle() -> AsyncIterator[bytes]:
        yield bytes(PAGE_SIZE // 2)
        began.set()
        await go_on.wait()
        yield bytes(PAGE_SIZE // 2)

    async with secure_vm(pair) as vm:
        await vm.write(ONE)
        store = asyncio.create_task(vm.guest.store(gpa_of(ONE), trickle()))  # type: ignore[arg-type]
        await began.wait()
        await pair.vmm.destroy(vm.lpid)
        digests = await pair.digests()
        go_on.set()
        with pytest.raises(Unanswered, match=r"401|409"):
            await store
        assert await pair.digests() == digests
