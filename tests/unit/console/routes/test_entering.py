"""Entering, and what a browser may do."""

import httpx
import pytest

from harness.console import SECRETS, Consoles
from pef_console.security import Right

STAGES = {"model": "", "recorded": "", "live": "there is no pair"}


@pytest.mark.parametrize("right", Right)
async def test_the_secret_of_a_right_gives_a_cookie_with_that_right(right: Right) -> None:
    async with Consoles().client(None) as client:
        answer = await client.post("/api/v1/enter", json={"secret": SECRETS[right]})
        expected = {"version": "pef 0.0.0", "read_only": right is Right.WATCH, "stages": STAGES}
        assert (answer.status_code, answer.json()) == (200, expected)
        assert (await client.get("/api/v1/about")).json() == expected


async def test_another_secret_gives_no_cookie() -> None:
    async with Consoles().client(None) as client:
        answer = await client.post("/api/v1/enter", json={"secret": "guessed"})
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers
        assert answer.json()["detail"].startswith("this is not the secret of this console")


PATHS = [
    ("GET", "/api/v1/about"),
    ("GET", "/api/v1/files"),
    ("GET", "/api/v1/designs"),
    ("GET", "/api/v1/lessons"),
    ("GET", "/api/v1/calls/UV_ESM"),
    ("GET", "/api/v1/sessions"),
    ("GET", "/api/v1/sessions/session-1"),
    ("GET", "/api/v1/sessions/session-1/events"),
    ("GET", "/api/v1/sessions/session-1/export?as=json"),
    ("GET", "/api/v1/sessions/session-1/map?cells=1"),
    ("POST", "/api/v1/sessions/session-1/look"),
]
COMMANDS = [
    ("POST", "/api/v1/sessions"),
    ("DELETE", "/api/v1/sessions/session-1"),
    *(
        ("POST", f"/api/v1/sessions/session-1/{command}")
        for command in ("move", "goto", "run", "back", "forward", "held/1", "check", "hint")
    ),
]


def test_no_path_is_forgotten() -> None:
    """Every route of the application stands in one of the two lists, or is the entrance."""
    listed = {(method, path.partition("?")[0]) for method, path in [*PATHS, *COMMANDS]}
    documented = {
        (
            method.upper(),
            path.replace("{session_id}", "session-1").replace("{held}", "1").replace("{name}", "UV_ESM"),
        )
        for path, methods in Consoles().app.openapi()["paths"].items()
        for method in methods
    }
    assert documented - listed == {("POST", "/api/v1/enter")}
    assert listed <= documented


@pytest.mark.parametrize(("method", "path"), [*PATHS, *COMMANDS])
async def test_without_a_cookie_there_is_nothing(method: str, path: str) -> None:
    consoles = Consoles()
    async with consoles.client() as entered:
        await entered.post("/api/v1/sessions", json={"stage": "model"})
    async with consoles.client(None) as client:
        for cookie in ({}, {"cookie": "pef_console_8100=guessed"}, {"cookie": "pef_console=guessed"}):
            answer = await client.request(method, path, headers=cookie)
            assert answer.status_code == 401
            assert answer.json()["detail"].startswith("open the URL that `pef console` printed")
    assert consoles.stages[0].commands == []


@pytest.mark.parametrize(("method", "path"), COMMANDS)
async def test_a_follower_moves_nothing(method: str, path: str) -> None:
    consoles = Consoles()
    async with consoles.client() as entered:
        await entered.post("/api/v1/sessions", json={"stage": "model"})
    async with consoles.client(Right.WATCH) as client:
        answer = await client.request(method, path, json={})
        assert (answer.status_code, answer.json()) == (403, {"detail": "this browser may watch only"})
    assert (len(consoles.stages), consoles.stages[0].commands, len(consoles.console.sessions)) == (1, [], 1)


async def observe(client: httpx.AsyncClient) -> int:
    """Observe a page, and return the status."""
    return (await client.post("/api/v1/sessions/session-1/look", json={"gfn": 1})).status_code


async def test_a_follower_observes_where_that_changes_nothing() -> None:
    consoles = Consoles()
    async with consoles.client() as entered, consoles.client(Right.WATCH) as follower:
        await entered.post("/api/v1/sessions", json={"stage": "model"})
        assert (await observe(entered), await observe(follower)) == (200, 200)
        consoles.stages[0].observing_changes = True
        assert (await observe(entered), await observe(follower)) == (200, 403)
