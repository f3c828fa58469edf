"""Every route, every kind of body: what is read of one that is too long, too short, or not for us."""

from collections.abc import AsyncIterator, Callable
from typing import Final

import pytest

from limits.routes import OPEN, Visit, made, visits
from pef_protocol.http import NORMAL_MEMORY_PATH, SLOT
from pef_protocol.identity import CallId, Epoch, InstanceId

PIECE: Final = 4096
PAGES: Final = frozenset({"/docs", "/docs/oauth2-redirect", "/openapi.json"})
"""Pages of the framework: they read no body, and the connection is closed behind one."""
VISITS: Final = [visit for visit in visits() if visit.path not in PAGES]


async def endless() -> AsyncIterator[bytes]:
    """Yield a body that does not end."""
    while True:
        yield bytes(PIECE)


async def nothing() -> AsyncIterator[bytes]:
    """Yield a body that ends before it begins, as one does behind an offered upgrade."""
    no_pieces: tuple[bytes, ...] = ()
    for piece in no_pieces:
        yield piece


async def some() -> AsyncIterator[bytes]:
    """Yield a body that ends too early: whole rows, whole words, and no JSON."""
    yield bytes(48)


async def no_json() -> AsyncIterator[bytes]:
    """Yield a body that is no JSON."""
    yield b"not JSON"


BETWEEN: Final = [visit for visit in VISITS if visit.role in {"hypervisor", "ultravisor"}]
BETWEEN_CALLS: Final = [visit for visit in BETWEEN if "calls/" in visit.path and "NO_SUCH" not in visit.path]


def test_there_are_routes_of_every_kind() -> None:
    assert {visit.body.kind for visit in VISITS} == {
        "no body",
        "JSON",
        "JSON without runs",
        "JSON with runs",
        "octets of runs",
        "octets of memory",
    }


async def test_a_long_body_that_is_announced_is_refused_unread() -> None:
    wrong: dict[str, object] = {}
    for visit in VISITS:
        if visit.path.endswith("memory/write"):
            continue  # a stream: its head says how long it may be
        seen = await made(visit, endless, length=visit.body.most + 1)
        if seen.status != 413 or seen.asked:
            wrong[visit.name] = seen.status, seen.read
    assert not wrong


async def test_a_long_body_that_is_not_announced_is_read_as_far_as_its_limit() -> None:
    wrong: dict[str, object] = {}
    for visit in VISITS:
        seen = await made(visit, endless)
        if seen.status not in {413, 422} or seen.read > visit.body.most + PIECE:
            wrong[visit.name] = seen.status, seen.read
    assert not wrong


async def test_who_has_no_token_is_told_so_before_a_byte_is_read() -> None:
    wrong: dict[str, object] = {}
    for visit in VISITS:
        if visit.path in OPEN:
            continue
        for length in (60 << 20, None):
            seen = await made(visit, endless, length=length, token=False)
            if seen.status != 401 or seen.asked:
                wrong[visit.name] = seen.status, seen.read
    assert not wrong


@pytest.mark.parametrize("pieces", [nothing, some])
async def test_a_body_that_did_not_arrive_is_no_body(pieces: Callable[[], AsyncIterator[bytes]]) -> None:
    wrong: dict[str, object] = {}
    for visit in VISITS:
        seen = await made(visit, pieces, length=96)
        # The bus refuses what its rows do not say, and may see so first.
        if seen.status not in ({400, 422} if visit.path.endswith("memory/write") else {400}):
            wrong[visit.name] = seen.status
    assert not wrong


async def test_pages_of_the_framework_read_no_body() -> None:
    for visit in visits():
        if visit.path in PAGES:
            assert not (await made(visit, endless)).asked


@pytest.mark.parametrize("protocol", ["h2c", "websocket", "TLS/1.2"])
async def test_an_upgrade_that_is_never_made_is_refused(protocol: str) -> None:
    wrong: dict[str, object] = {}
    for visit in VISITS:
        seen = await made(
            visit, nothing, length=96, headers=(("connection", "Upgrade"), ("upgrade", protocol))
        )
        if seen.status != 400 or seen.asked or seen.headers.get("connection") != "close":
            wrong[visit.name] = seen.status
    assert not wrong


async def test_octets_of_runs_are_the_peers() -> None:
    wrong: dict[str, object] = {}
    for visit in VISITS:
        if visit.body.kind != "octets of runs" or "calls/" not in visit.path:
            continue
        other = Visit(visit.app, visit.method, visit.path, "guest", visit.body)
        seen = await made(other, endless)
        if not 400 <= seen.status < 500 or seen.read > 65536 + PIECE:
            wrong[visit.name] = seen.status, seen.read
    assert not wrong


async def test_a_body_that_is_no_json_tells_nobody_without_a_token_so() -> None:
    for visit in VISITS:
        if visit.path not in OPEN:
            assert (await made(visit, no_json, length=8, token=False)).status == 401, visit.name


async def test_a_message_of_another_epoch_is_refused_unread() -> None:
    wrong: dict[str, object] = {}
    for visit in [*BETWEEN_CALLS, *(each for each in BETWEEN if each.path.startswith(NORMAL_MEMORY_PATH))]:
        for named, status in ((Epoch(InstanceId("1" * 32), 1), 409), ("no epoch", 400)):
            seen = await made(visit, endless, epoch=str(named))
            if seen.status != status or seen.asked:
                wrong[visit.name] = seen.status, seen.read
    assert not wrong


async def test_a_number_that_its_slot_may_not_carry_is_refused_unread() -> None:
    wrong: dict[str, object] = {}
    for visit in BETWEEN_CALLS:
        for number, status in ((CallId("session", 1, 0, 2), 400), ("no number", 400)):
            seen = await made(visit, endless, headers=((SLOT, str(number)),))
            if seen.status != status or seen.asked:
                wrong[visit.name] = seen.status, seen.read
    assert not wrong


async def test_where_there_is_no_epoch_what_needs_one_is_refused_unread() -> None:
    refused: set[str] = set()
    for visit in visits():
        visit.app.state.service.fence.end()
        seen = await made(visit, endless)
        if seen.status == 503 and not seen.asked:
            refused.add(visit.path)
    assert {"/v1/ultracalls/UV_ESM", "/v1/vmm/vms", "/v1/vmm/vms/1/write"} <= refused
