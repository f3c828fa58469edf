"""Nothing of a VM outlives it: a token of the past acts on nobody, at any route of a guest.

Source: ARCHITECTURE, "Identity and time", rules 10 and 11; attacks 47 and 61.
"""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from identity.routes import GUEST_ROUTES, STORED, VM_ROUTES, Route, body_of
from identity.two_visors import FREE, LPID, TOKENS, TwoVisors, problem
from pef_protocol.events import Side

pytestmark = pytest.mark.sockets
AT_ULTRAVISOR = tuple(route for route in GUEST_ROUTES if route.side is Side.ULTRAVISOR)


def named(route: Route) -> str:
    return str(route)


async def new_vm(pair: TwoVisors, route: Route) -> None:
    """Make a VM on which the route's request succeeds."""
    await (pair.secure_vm() if route.secure else pair.normal_vm())


async def acted(pair: TwoVisors, route: Route, token: str) -> httpx.Response:
    """Send the route's request with a token."""
    body = body_of(route, pair)
    return await pair.ask(route.side, token, route.method, route.path, headers=route.headers, content=body)


async def refused(pair: TwoVisors, route: Route, token: str) -> None:
    """See that a token is refused and changes nothing."""
    before = await pair.digests()
    status, detail = problem(await acted(pair, route, token))
    assert status == 401
    assert str(LPID) in detail
    assert await pair.digests() == before


@pytest.mark.parametrize("route", GUEST_ROUTES, ids=named)
async def test_a_token_of_a_destroyed_vm_whose_lpid_is_in_use_again(pair: TwoVisors, route: Route) -> None:
    await new_vm(pair, route)
    token = await pair.mint(route.side)
    await pair.destroy()
    await new_vm(pair, route)
    await refused(pair, route, token)


@pytest.mark.verify
@pytest.mark.parametrize("route", GUEST_ROUTES, ids=named)
async def test_a_token_of_a_service_run_before(pair: TwoVisors, route: Route) -> None:
    await new_vm(pair, route)
    token = await pair.mint(route.side)
    await pair.destroy()
    await pair.stop(route.side)
    await pair.start(route.side)
    await new_vm(pair, route)
    await refused(pair, route, token)


@pytest.mark.verify
@pytest.mark.parametrize("route", AT_ULTRAVISOR, ids=named)
async def test_a_token_of_the_svm_before_a_reset(pair: TwoVisors, route: Route) -> None:
    await pair.secure_vm()
    token = await pair.mint(Side.ULTRAVISOR)
    assert (await pair.vmm("POST", f"/{LPID}/reset")).json()["name"] == "OK"
    await pair.load_image()
    if route.secure:
        assert (await pair.enter()).json()["code"]["name"] == "U_SUCCESS"
    await refused(pair, route, token)


@pytest.mark.verify
@pytest.mark.parametrize("route", AT_ULTRAVISOR, ids=named)
async def test_a_token_of_a_uv_esm_that_failed(pair: TwoVisors, route: Route) -> None:
    await pair.normal_vm()
    token = await pair.mint(Side.ULTRAVISOR)
    await pair.vmm("POST", f"/{LPID}/write?gpa={pair.image.kernel_base}", content=b"another kernel")
    assert (await pair.enter()).json()["code"]["name"] == "U_PERMISSION"
    await pair.load_image()
    if route.secure:
        assert (await pair.enter()).json()["code"]["name"] == "U_SUCCESS"
    await refused(pair, route, token)


class Trickle:
    """A body whose last byte comes when the test lets it."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.begun = asyncio.Event()
        self.last = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield all bytes but the last one, and that one later."""
        yield self._content[:-1]
        self.begun.set()
        await self.last.wait()
        yield self._content[-1:]


@pytest.mark.verify
@pytest.mark.parametrize("route", [*GUEST_ROUTES, *VM_ROUTES], ids=named)
async def test_a_body_that_trickles_while_its_vm_is_destroyed_and_the_lpid_given_away(
    pair: TwoVisors, route: Route
) -> None:
    await new_vm(pair, route)
    of_guest = route in GUEST_ROUTES
    token = await pair.mint(route.side) if of_guest else TOKENS["vmm"]
    headers = dict(route.headers) if of_guest else {**route.headers, "if-match": await pair.etag()}
    body = Trickle(body_of(route, pair) or b" ")
    sending = asyncio.ensure_future(
        pair.ask(route.side, token, route.method, route.path, headers=headers, content=body)
    )
    await body.begun.wait()
    await pair.destroy()
    await new_vm(pair, route)
    before = await pair.digests()
    body.last.set()
    status, _ = problem(await sending)
    assert status == (401 if of_guest else 412)
    assert await pair.digests() == before


async def test_a_successor_keeps_what_it_stored(pair: TwoVisors) -> None:
    await pair.secure_vm()
    old = await pair.mint(Side.ULTRAVISOR)
    await pair.destroy()
    await pair.secure_vm()
    new = await pair.mint(Side.ULTRAVISOR)
    store, load = f"/v1/guest/store?gpa={FREE}", f"/v1/guest/load?gpa={FREE}&length={len(STORED)}"
    await pair.ask(Side.ULTRAVISOR, new, "POST", store, content=STORED)
    for path in (store, load):
        assert problem(await pair.ask(Side.ULTRAVISOR, old, "POST", path, content=b"of another"))[0] == 401
    assert (await pair.ask(Side.ULTRAVISOR, new, "POST", load)).content == STORED
