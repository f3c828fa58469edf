"""Nothing acts twice: a request of a guest or VMM that is repeated with its key acts once.

Source: ARCHITECTURE, "Identity and time", rule 14; attack 49 as far as it is about clients.
"""

import asyncio

import httpx
import pytest

from identity.routes import CREATE, GUEST_ROUTES, VM_ROUTES, Route, body_of
from identity.two_visors import LPID, TOKENS, VM, TwoVisors, problem
from pef_protocol.events import Side

pytestmark = pytest.mark.sockets
KEYED = tuple(route for route in (*GUEST_ROUTES, *VM_ROUTES) if not route.reads)


def named(route: Route) -> str:
    return str(route)


class Sender:
    """Sends one route's request, with one token and one key, as often as it is told."""

    def __init__(self, pair: TwoVisors, route: Route, token: str) -> None:
        self._pair = pair
        self._route = route
        self._token = token

    async def send(self, body: bytes | None = None) -> httpx.Response:
        """Send the request, with its own body or another."""
        headers = {**self._route.headers, "idempotency-key": '"the key of this request"'}
        content = body_of(self._route, self._pair) if body is None else body
        return await self._pair.ask(
            self._route.side, self._token, self._route.method, self._route.path, headers, content=content
        )


async def sender(pair: TwoVisors, route: Route) -> Sender:
    """Make a VM on which the route's request succeeds, and what sends it."""
    if route is not CREATE:
        await (pair.secure_vm() if route.secure else pair.normal_vm())
    token = await pair.mint(route.side) if route in GUEST_ROUTES else TOKENS["vmm"]
    return Sender(pair, route, token)


async def happened(pair: TwoVisors) -> int:
    """Count the events of both sides: calls, accesses and operations that began or ended."""
    return sum([len(await pair.view(side, "trace?after=0")) for side in Side])


@pytest.mark.parametrize("route", [CREATE, *KEYED], ids=named)
async def test_a_repeat_with_its_key_reads_the_first_answer_and_does_nothing(
    pair: TwoVisors, route: Route
) -> None:
    sending = await sender(pair, route)
    first = await sending.send()
    assert first.status_code == 200, first.text
    digests, answered = await pair.digests(), await happened(pair)
    again = await sending.send()
    assert (again.status_code, again.content) == (200, first.content)
    assert (await pair.digests(), await happened(pair)) == (digests, answered)
    assert again.headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize("route", [each for each in (CREATE, *KEYED) if each.other is not None], ids=named)
async def test_the_key_of_another_request_is_refused(pair: TwoVisors, route: Route) -> None:
    sending = await sender(pair, route)
    assert (await sending.send()).status_code == 200
    digests, answered = await pair.digests(), await happened(pair)
    status, detail = problem(await sending.send(route.other))
    assert (status, "key" in detail) == (422, True)
    assert (await pair.digests(), await happened(pair)) == (digests, answered)


async def test_four_creates_that_timed_out_make_one_vm_and_it_is_listed(pair: TwoVisors) -> None:
    gate = pair.gates[Side.ULTRAVISOR]
    gate.opened.clear()
    sending = await sender(pair, CREATE)
    for _ in range(4):
        attempt = asyncio.ensure_future(sending.send())
        await gate.holds(1)
        attempt.cancel()
        await asyncio.gather(attempt, return_exceptions=True)
    last = asyncio.ensure_future(sending.send())
    gate.opened.set()
    made = (await last).json()
    assert (made["name"], made["lpid"]) == ("OK", LPID)
    listed = (await pair.vmm("GET", "")).json()["vms"]
    assert [vm["lpid"] for vm in listed] == [LPID]
    assert listed[0]["incarnation"] == made["incarnation"]


async def test_a_repeated_destroy_spares_the_next_vm(pair: TwoVisors) -> None:
    sending = await sender(pair, next(route for route in VM_ROUTES if route.name == "destroy"))
    first = await sending.send()
    assert (await pair.vmm("POST", "", json=VM)).json()["lpid"] == LPID
    again = await sending.send()
    assert (again.status_code, again.content) == (200, first.content)
    listed = (await pair.vmm("GET", "")).json()["vms"]
    assert [vm["lpid"] for vm in listed] == [LPID]
