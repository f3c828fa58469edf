"""One session: one command after the other, one encoded frame for all."""

import json

import anyio
import pytest

from harness.console import CountingStage
from pef_console.followers import Followers
from pef_console.session import ConsoleSession, CursorMoved
from pef_console.stage import NotPossible, Stage


def session_of(followers: int = 9) -> tuple[ConsoleSession, CountingStage]:
    """Return a session with a counting stage."""
    stage = CountingStage(lambda kind, content: None)
    return ConsoleSession("s", stage, Followers(followers), 0.0), stage


def test_the_first_frame_is_there_at_once() -> None:
    session, _ = session_of()
    assert json.loads(session.frame.text) == {"node": 0, "moves": [], "id": "s", "stage": "model", "seq": 1}


async def test_a_command_gives_the_frame_after_it_with_the_next_number() -> None:
    session, stage = session_of()
    frame = await session.command(0, lambda stage: stage.goto(5))
    assert frame is session.frame
    assert json.loads(frame.text)["seq"] == 2
    assert (frame.node, stage.commands) == (5, ["goto"])


async def test_a_command_given_at_another_node_changes_nothing() -> None:
    session, stage = session_of()
    await session.command(None, lambda stage: stage.goto(5))
    before = session.frame
    with pytest.raises(CursorMoved, match="the cursor has moved: it is at 5, not at 0"):
        await session.command(0, lambda stage: stage.goto(9))
    assert (session.frame, stage.commands) == (before, ["goto"])


async def test_what_is_not_possible_publishes_nothing() -> None:
    session, _ = session_of()
    with pytest.raises(NotPossible, match="This is the start"):
        await session.command(0, lambda stage: stage.back())
    assert session.followers.seq == 1


async def test_twenty_followers_share_one_encoded_frame() -> None:
    session, stage = session_of(20)
    texts: list[str | None] = []

    async def follow() -> None:
        async for event in session.followers.stream(session.followers.seq):
            texts.append(event.raw_data)  # noqa: PERF401 - each is seen as it comes

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(follow)
        await anyio.wait_all_tasks_blocked()
        asked = stage.frames
        frame = await session.command(0, lambda stage: stage.goto(5))
        await anyio.wait_all_tasks_blocked()
        assert stage.frames == asked + 1
        assert len(texts) == 20
        assert all(text is frame.text for text in texts)
        group.cancel_scope.cancel()


async def test_commands_do_not_overlap() -> None:
    session, _ = session_of()
    running, most = 0, 0

    async def slow(_: Stage) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.wait_all_tasks_blocked()
        running -= 1

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(session.command, None, slow)
    assert most == 1


async def test_two_commands_at_one_node_are_one_too_many() -> None:
    session, stage = session_of()
    refused = 0

    async def once() -> None:
        nonlocal refused
        try:
            await session.command(0, lambda stage: stage.forward())
        except CursorMoved:
            refused += 1

    async with anyio.create_task_group() as group:
        group.start_soon(once)
        group.start_soon(once)
    assert (stage.at, refused) == (1, 1)


async def test_an_event_of_the_stage_is_published() -> None:
    session, stage = session_of()
    stage.at = 7
    session.publish("frame", None)
    assert session.frame.node == 7
    session.publish("page", {"gfn": 3})
    events = session.followers.stream(0)
    assert [(await anext(events)).event for _ in range(2)] == ["frame", "page"]


async def test_closing_waits_for_the_command_that_runs() -> None:
    session, stage = session_of()
    go = anyio.Event()

    async def slow(_: Stage) -> None:
        await go.wait()
        assert not stage.closed

    async with anyio.create_task_group() as group:
        group.start_soon(session.command, None, slow)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(session.close, "over")
        await anyio.wait_all_tasks_blocked()
        assert not stage.closed
        go.set()
    assert stage.closed
