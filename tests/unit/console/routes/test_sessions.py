"""Sessions over HTTP: open, list, read and end."""

from typing import Any

import pytest

from harness.console import LIMITS, Consoles, opened

FIRST: dict[str, Any] = {"node": 0, "moves": [], "id": "session-1", "stage": "model", "seq": 1}


async def test_a_session_is_opened_listed_read_and_ended() -> None:
    consoles = Consoles()
    async with consoles.client() as client:
        answer = await client.post("/api/v1/sessions", json={"stage": "model", "design": "broken"})
        assert (answer.status_code, answer.json()) == (201, FIRST)
        listed = await client.get("/api/v1/sessions")
        assert listed.json() == [{"id": "session-1", "stage": "model", "title": "a number", "followers": 0}]
        assert (await client.get("/api/v1/sessions/session-1")).json() == FIRST
        assert (await client.delete("/api/v1/sessions/session-1")).status_code == 204
        assert (await client.get("/api/v1/sessions")).json() == []
        for method in ("GET", "DELETE"):
            gone = await client.request(method, "/api/v1/sessions/session-1")
            assert (gone.status_code, gone.json()["detail"]) == (
                404,
                "there is no such session: it has ended, or never was",
            )
    assert consoles.stages[0].closed


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({}, "model.stage: Field required"),
        ([], "model: Input should be a valid dictionary or object to extract fields from"),
        ({"stage": "other"}, "model.stage: Input should be 'model'"),
        (
            {"stage": "model", "system": {"image": []}},
            "model.system.image: Tuple should have at least 1 item",
        ),
        ({"stage": "model", "system": {"image": ["x"]}}, "model.system.image.0: Input should be 'brought'"),
        (
            {"stage": "model", "system": {"plug": 9}},
            "model.system.plug: Input should be less than or equal to 8",
        ),
        ({"stage": "model", "extra": 1}, "model.extra: Extra inputs are not permitted"),
        ({"file": 7}, "file.file: Input should be a valid string"),
        ({"copy": "x", "at": -1}, "copy.at: Input should be greater than or equal to 0"),
    ],
)
async def test_a_body_that_is_wrong_gets_one_line(body: Any, detail: str) -> None:
    consoles = Consoles()
    async with consoles.client() as client:
        answer = await client.post("/api/v1/sessions", json=body)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(detail)
    assert (answer.json().keys(), consoles.stages) == ({"detail"}, [])


async def test_what_is_no_json_gets_one_line() -> None:
    async with Consoles().client() as client:
        answer = await client.post(
            "/api/v1/sessions", content=b"{", headers={"content-type": "application/json"}
        )
    assert (answer.status_code, answer.json().keys()) == (422, {"detail"})
    assert "\n" not in answer.json()["detail"]


async def test_a_stage_that_is_not_there_says_why() -> None:
    async with Consoles().client() as client:
        answer = await client.post("/api/v1/sessions", json={"stage": "live"})
        assert (answer.status_code, answer.json()) == (409, {"detail": "there is no pair"})


async def test_one_session_too_many_is_refused() -> None:
    async with Consoles().client() as client:
        for _ in range(LIMITS.sessions):
            await opened(client)
        answer = await client.post("/api/v1/sessions", json={"stage": "model"})
        assert (answer.status_code, answer.json()) == (
            409,
            {"detail": "there are 3 sessions, and no more may be: end one first"},
        )


async def test_a_stage_that_can_not_be_copied_says_so() -> None:
    consoles = Consoles()
    async with consoles.client() as client:
        await opened(client)
        answer = await client.post("/api/v1/sessions", json={"copy": "session-1"})
        assert (answer.status_code, answer.json()) == (409, {"detail": "a model session can't be copied"})
        unknown = await client.post("/api/v1/sessions", json={"copy": "other"})
        assert unknown.status_code == 404
