"""One encoded event for all followers; the latest wins; a stream goes on where it was."""

from collections.abc import AsyncIterator

import anyio
from fastapi.sse import ServerSentEvent

from pef_console.followers import Followers


async def first_of(stream: AsyncIterator[ServerSentEvent]) -> tuple[str | None, str | None, str | None]:
    """Return the kind, the number and the content of the next event."""
    event = await anext(stream)
    return event.event, event.id, event.raw_data


async def test_a_new_follower_gets_the_newest_of_each_kind() -> None:
    followers = Followers(9)
    for kind, text in [("frame", "1"), ("page", "a"), ("frame", "2")]:
        followers.publish(kind, text)
    stream = followers.stream(0)
    assert await first_of(stream) == ("page", "2", "a")
    assert await first_of(stream) == ("frame", "3", "2")


async def test_twenty_followers_get_one_event_object() -> None:
    followers = Followers(20)
    followers.publish("frame", "1")
    events = [await anext(followers.stream(0)) for _ in range(20)]
    assert {id(event) for event in events} == {id(events[0])}


async def test_a_slow_follower_misses_frames_and_never_the_newest() -> None:
    followers = Followers(9)
    followers.publish("frame", "0")
    stream = followers.stream(0)
    assert await first_of(stream) == ("frame", "1", "0")
    for number in range(1, 1000):
        followers.publish("frame", str(number))
    assert await first_of(stream) == ("frame", "1000", "999")


async def test_a_waiting_follower_gets_what_comes() -> None:
    followers = Followers(9)
    seen: list[str | None] = []

    async def follow() -> None:
        async for event in followers.stream(0):
            seen.append(event.raw_data)  # noqa: PERF401 - each is seen as it comes

    async with anyio.create_task_group() as group:
        group.start_soon(follow)
        await anyio.wait_all_tasks_blocked()
        assert (seen, followers.count) == ([], 1)
        for text in ("a", "b"):
            followers.publish("frame", text)
            await anyio.wait_all_tasks_blocked()
        assert seen == ["a", "b"]
        followers.end("it is over")
    assert seen[2:] == ['{"detail": "it is over"}']
    assert followers.count == 0


async def test_a_follower_that_comes_back_gets_only_what_it_has_not_seen() -> None:
    followers = Followers(9)
    followers.publish("page", "a")
    followers.publish("frame", "1")
    assert await first_of(followers.stream(1)) == ("frame", "2", "1")
    back = followers.stream(2)
    followers.publish("frame", "2")
    assert await first_of(back) == ("frame", "3", "2")


async def test_a_number_that_was_never_given_is_another_consoles_and_all_is_sent() -> None:
    followers = Followers(9)
    followers.publish("frame", "1")
    assert await first_of(followers.stream(77)) == ("frame", "1", "1")


async def test_a_stream_that_begins_after_the_end_ends_with_bye() -> None:
    followers = Followers(9)
    followers.publish("frame", "1")
    followers.end("over")
    followers.end("over again")
    events = [event.event async for event in followers.stream(0)]
    assert events == ["frame", "bye"]


async def test_no_more_follow_than_may() -> None:
    followers = Followers(1)
    followers.publish("frame", "1")
    stream = followers.stream(0)
    full = [followers.full]
    await anext(stream)
    full.append(followers.full)
    await stream.aclose()
    assert [*full, followers.full] == [False, True, False]
