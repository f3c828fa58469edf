"""A request of a guest or VMM is answered in bounded time; its operation goes on.

Source: ARCHITECTURE, "Identity and time", rule 8 and the promises.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from identity.two_visors import LPID, TOKENS, VM, TwoVisors, problem, two_visors
from pef_hypervisor import state as store
from pef_protocol.events import Side

pytestmark = pytest.mark.sockets
WITHIN = 0.05
"""Seconds that a request waits for its operation."""


@pytest.fixture
async def hasty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TwoVisors]:
    """Start a pair whose requests wait only a moment."""
    monkeypatch.setattr(store, "LPIDS", range(1, 2))
    async with two_visors(tmp_path, answer_within=WITHIN) as pair:
        yield pair


async def outcome(pair: TwoVisors, operation: str, token: str = TOKENS["vmm"]) -> httpx.Response:
    """Read the outcome of an operation at the Hypervisor, asking while it is still open."""
    while True:
        answer = await pair.ask(Side.HYPERVISOR, token, "GET", f"/v1/operations/{operation}")
        if answer.status_code != 503:
            return answer
        await asyncio.sleep(WITHIN)


@pytest.mark.parametrize("headers", [{}, {"idempotency-key": "create"}], ids=["no key", "a key"])
async def test_a_create_that_takes_long_is_still_open_and_its_outcome_is_read_by_its_id(
    hasty: TwoVisors, headers: dict[str, str]
) -> None:
    hasty.gates[Side.ULTRAVISOR].opened.clear()
    answer = await hasty.vmm("POST", "", headers=headers, json=VM)
    status, detail = problem(answer)
    operation = answer.json()["operation"]
    assert (status, operation in detail) == (503, True)
    again = await hasty.ask(Side.HYPERVISOR, TOKENS["vmm"], "GET", f"/v1/operations/{operation}")
    assert (again.status_code, again.json()["operation"]) == (503, operation)
    hasty.gates[Side.ULTRAVISOR].opened.set()
    made = await outcome(hasty, operation)
    assert (made.json()["name"], made.json()["lpid"]) == ("OK", LPID)
    if headers:
        assert (await hasty.vmm("POST", "", headers=headers, json=VM)).content == made.content


async def test_the_outcome_is_for_who_asked_alone(hasty: TwoVisors) -> None:
    hasty.gates[Side.ULTRAVISOR].opened.clear()
    operation = (await hasty.vmm("POST", "", json=VM)).json()["operation"]
    hasty.gates[Side.ULTRAVISOR].opened.set()
    assert (await outcome(hasty, operation)).json()["name"] == "OK"
    guest = await hasty.mint(Side.HYPERVISOR)
    assert problem(await outcome(hasty, operation, guest))[0] == 404
    assert problem(await outcome(hasty, operation, TOKENS["observer"]))[0] == 403
    assert problem(await outcome(hasty, "another"))[0] == 404
