"""Commands over HTTP: the frame after them, or 409 with the reason and the frame."""

from typing import Any

import pytest

from harness.console import Consoles, opened

MOVE = {"actor": "guest 0", "action": "load", "gfn": 0}


@pytest.mark.parametrize(
    ("command", "body", "done", "node"),
    [
        ("move", MOVE, "move", 6),
        ("goto", {"node": 3}, "goto", 3),
        ("run", {"until": "end"}, "run end", 100),
        ("back", {}, "back", 4),
        ("forward", {}, "forward", 6),
    ],
)
async def test_a_command_gives_the_frame_after_it(
    command: str, body: dict[str, Any], done: str, node: int
) -> None:
    consoles = Consoles()
    async with consoles.client() as client:
        path = await opened(client)
        stage = consoles.stages[0]
        await client.post(f"{path}/goto", json={"node": 5})
        moved = await client.post(f"{path}/{command}", json=body | {"if_at": 4})
        assert moved.status_code == 409
        assert moved.json()["detail"] == "the cursor has moved: it is at 5, not at 4"
        assert (moved.json()["frame"]["node"], stage.commands) == (5, ["goto"])
        answer = await client.post(f"{path}/{command}", json=body | {"if_at": 5})
        assert (answer.status_code, answer.json()["node"], answer.json()["seq"]) == (200, node, 3)
        assert stage.commands == ["goto", done]
        assert (await client.get(path)).json() == answer.json()


async def test_a_move_that_is_not_possible_says_why_and_gives_the_frame() -> None:
    async with Consoles().client() as client:
        path = await opened(client)
        before = (await client.get(path)).json()
        answer = await client.post(f"{path}/move", json={"actor": "guest 0", "action": "never"})
        assert (answer.status_code, answer.json()) == (
            409,
            {"detail": "nobody can do that", "frame": before},
        )
        assert (await client.get(path)).json() == before


@pytest.mark.parametrize(
    ("command", "body", "detail"),
    [
        ("move", {"actor": "guest 0"}, "action: Field required"),
        ("move", MOVE | {"gfn": -1}, "gfn: Input should be greater than or equal to 0"),
        ("move", MOVE | {"token": "x"}, "token: Extra inputs are not permitted"),
        ("move", MOVE | {"action": "x" * 81}, "action: String should have at most 80 characters"),
        ("goto", {}, "node: Field required"),
        ("run", {"until": "never"}, "until: Input should be 'quiescent', 'end' or 'violation'"),
        ("held/1", {"action": "eat"}, "action: Input should be 'deliver'"),
    ],
)
async def test_a_command_that_is_wrong_gets_one_line(command: str, body: dict[str, Any], detail: str) -> None:
    consoles = Consoles()
    async with consoles.client() as client:
        answer = await client.post(f"{await opened(client)}/{command}", json=body)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(detail)
    assert consoles.stages[0].commands == []


async def test_a_stage_that_holds_no_message_says_so() -> None:
    async with Consoles().client() as client:
        answer = await client.post(f"{await opened(client)}/held/1", json={"action": "deliver"})
        assert (answer.status_code, answer.json()["detail"]) == (409, "a model session holds no messages")


async def test_a_command_to_a_session_that_has_ended_is_404() -> None:
    async with Consoles().client() as client:
        answer = await client.post("/api/v1/sessions/gone/back", json={})
        assert (answer.status_code, answer.json().keys()) == (404, {"detail"})
