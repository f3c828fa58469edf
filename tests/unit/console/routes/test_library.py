"""What can be looked up: the whole check order of a call."""

import pytest

from harness.console import Consoles
from pef_protocol.calls import CALLS


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_is_shown_with_its_checks_in_order(name: str) -> None:
    async with Consoles().client() as client:
        shown = (await client.get(f"/api/v1/calls/{name}")).json()
    call = CALLS[name]
    assert [(each["check"], each["code"], each["sentence"]) for each in shown["checks"]] == [
        (each.name, each.code.name, each.refuses) for each in call.check_order
    ]
    assert (shown["source"], shown["codes"]) == (call.source, sorted(code.name for code in call.later))
    assert shown["sentence"]


async def test_an_unknown_call_is_404() -> None:
    async with Consoles().client() as client:
        answer = await client.get("/api/v1/calls/UV_OTHER")
        assert (answer.status_code, answer.json()) == (404, {"detail": "there is no call 'UV_OTHER'"})


@pytest.mark.parametrize("what", ["files", "designs", "lessons"])
async def test_a_console_with_nothing_lists_nothing(what: str) -> None:
    async with Consoles().client() as client:
        assert (await client.get(f"/api/v1/{what}")).json() == []
