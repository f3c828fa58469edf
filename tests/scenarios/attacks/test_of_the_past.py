"""What names a VM that is gone, and bodies that are too long, too slow or none: attacks 47, 50, 53, 61."""

import asyncio
import re
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from harness.live import LivePair
from harness.live_vm import FREE, secure_vm
from pef_kit.runtime.messages import encode_call
from pef_lab.failures import Unanswered
from pef_protocol.calls import CALLS
from pef_protocol.http import EPOCH, ULTRACALL_PATH
from pef_protocol.quantities import PAGE_SIZE, Lpid, gpa_of
from pef_protocol.ultracalls import SvmTerminate

pytestmark = [pytest.mark.sockets, pytest.mark.slow]

ONE, TWO = FREE, FREE + 1
LONG = 32 << 20


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


async def test_47_the_token_of_a_vm_that_was_destroyed(pair: LivePair) -> None:
    """Given the token of a guest whose VM was destroyed.

    When a load and a share are made with it,
    then each is answered 401, and neither side changes.
    """
    async with secure_vm(pair) as vm:
        await vm.write(ONE)
        await pair.vmm.destroy(vm.lpid)
        digests = await pair.digests()
        with pytest.raises(Unanswered, match="401"):
            await vm.load(ONE)
        with pytest.raises(Unanswered, match="401"):
            await vm.guest.share(ONE)
        assert await pair.digests() == digests


async def test_50_a_long_body_to_a_short_call(pair: LivePair) -> None:
    """Given a call whose messages are short.

    When a request announces a body of 32 MiB,
    then it is answered 413 before all of it came, and neither side changes.
    """
    digests = await pair.digests()
    lines = ["content-type: application/json", f"content-length: {LONG}"]
    came = await raw(pair, ULTRACALL_PATH + "UV_SVM_TERMINATE", lines, b" " * (64 << 10))
    assert came.startswith(b"HTTP/1.1 413 ")
    assert await pair.digests() == digests


async def test_53_a_body_that_is_announced_and_never_sent_behind_an_upgrade(pair: LivePair) -> None:
    """Given a request that asks for an upgrade and announces 32 MiB.

    When only a short body follows,
    then at most one answer comes, none of success, and neither side changes.
    """
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
    assert len(re.findall(rb"HTTP/1\.1 \d", came)) <= 1
    assert await pair.digests() == digests


async def test_61_a_body_that_trickles_while_its_vm_is_destroyed(pair: LivePair) -> None:
    """Given a store of which half the body came.

    When its VM is destroyed, and the other half comes,
    then the store is refused, and neither side changes.
    """
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
