"""The event stream over HTTP, in one piece: it ends with its session. Open streams: test_serving.py."""

import anyio
import httpx
import pytest

from harness.console import LIMITS, Consoles, opened


async def stream_of(client: httpx.AsyncClient, path: str, last: str | None = None) -> str:
    """Return all of a stream, whose session is ended meanwhile."""
    headers = {} if last is None else {"last-event-id": last}
    answers: list[httpx.Response] = []

    async def follow() -> None:
        answers.append(await client.get(f"{path}/events", headers=headers))

    async with anyio.create_task_group() as group:
        group.start_soon(follow)
        await anyio.wait_all_tasks_blocked()
        await client.delete(path)
    assert answers[0].headers["content-type"].startswith("text/event-stream")
    assert answers[0].headers["cache-control"] == "no-cache"
    return answers[0].text


def events_in(text: str) -> list[tuple[str, str]]:
    """Return the kind and the number of each event."""
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("event:")]
    return [(lines[0].removeprefix("event: "), lines[-1].removeprefix("id: ")) for lines in blocks]


async def test_a_stream_begins_with_the_newest_frame_and_ends_with_bye() -> None:
    async with Consoles().client() as client:
        path = await opened(client)
        frame = (await client.post(f"{path}/goto", json={"node": 5})).text
        text = await stream_of(client, path)
    assert text.startswith(f"event: frame\ndata: {frame}\nid: 2\n\n")
    assert events_in(text) == [("frame", "2"), ("bye", "3")]
    assert 'data: {"detail": "somebody ended this session"}' in text


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ("1", [("frame", "2"), ("bye", "3")]),
        ("2", [("bye", "3")]),
        ("77", [("frame", "2"), ("bye", "3")]),
        ("none", [("frame", "2"), ("bye", "3")]),
        ("-1", [("frame", "2"), ("bye", "3")]),
    ],
)
async def test_last_event_id_says_what_was_seen(last: str, expected: list[tuple[str, str]]) -> None:
    async with Consoles().client() as client:
        path = await opened(client)
        await client.post(f"{path}/goto", json={"node": 5})
        assert events_in(await stream_of(client, path, last)) == expected


async def test_one_follower_too_many_is_refused() -> None:
    consoles = Consoles()
    async with consoles.client() as client, anyio.create_task_group() as group:
        path = await opened(client)
        for _ in range(LIMITS.followers):
            group.start_soon(client.get, f"{path}/events")
        await anyio.wait_all_tasks_blocked()
        assert (await client.get("/api/v1/sessions")).json()[0]["followers"] == LIMITS.followers
        answer = await client.get(f"{path}/events")
        assert (answer.status_code, answer.json()["detail"]) == (
            503,
            "too many browsers follow this session",
        )
        await client.delete(path)
