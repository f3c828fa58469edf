"""How many sessions there may be, and when an idle one ends. The time is an argument."""

from typing import Any

import pytest

from harness.console import LIMITS, Consoles, CountingStage
from pef_console.sessions import Sessions, UnknownSession
from pef_console.stage import NotPossible, Publish


@pytest.fixture
def consoles() -> Consoles:
    return Consoles()


@pytest.fixture
def sessions(consoles: Consoles) -> Sessions:
    return consoles.console.sessions


async def opened(consoles: Consoles) -> str:
    """Open a session, and return its id."""

    async def stage(publish: Publish) -> CountingStage:
        return await consoles.open(None, publish)

    return (await consoles.console.sessions.open(stage)).id


async def test_more_sessions_than_may_be_are_refused_until_one_ends(
    consoles: Consoles, sessions: Sessions
) -> None:
    ids = [await opened(consoles) for _ in range(LIMITS.sessions)]
    with pytest.raises(NotPossible, match="there are 3 sessions, and no more may be: end one first"):
        await opened(consoles)
    assert len(consoles.stages) == LIMITS.sessions
    await sessions.end(ids[0], "over")
    assert consoles.stages[0].closed
    assert await opened(consoles) not in ids


async def test_sessions_that_are_being_opened_count(consoles: Consoles, sessions: Sessions) -> None:
    async def one_within_another(publish: Publish) -> CountingStage:
        for _ in range(LIMITS.sessions - 1):
            await opened(consoles)
        with pytest.raises(NotPossible):
            await opened(consoles)
        return await consoles.open(None, publish)

    await sessions.open(one_within_another)
    assert len(sessions) == LIMITS.sessions


async def test_what_can_not_be_opened_takes_no_place(sessions: Sessions) -> None:
    async def fails(_: Any) -> CountingStage:
        raise NotPossible("no")

    for _ in range(LIMITS.sessions + 1):
        with pytest.raises(NotPossible, match="no"):
            await sessions.open(fails)
    assert len(sessions) == 0


async def test_a_session_ends_once_nobody_has_used_it_for_long(
    consoles: Consoles, sessions: Sessions
) -> None:
    first, second = await opened(consoles), await opened(consoles)
    consoles.now = LIMITS.idle - 1
    sessions.find(second)
    assert await sessions.end_idle() == []
    consoles.now = LIMITS.idle
    assert await sessions.end_idle() == [first]
    assert [stage.closed for stage in consoles.stages] == [True, False]
    with pytest.raises(UnknownSession, match="it has ended, or never was"):
        sessions.find(first)
    assert sessions.find(second).id == second


async def test_a_session_that_somebody_follows_is_not_idle(consoles: Consoles, sessions: Sessions) -> None:
    session = sessions.find(await opened(consoles))
    stream = session.followers.stream(0)
    await anext(stream)
    consoles.now = 2 * LIMITS.idle
    assert await sessions.end_idle() == []
    await stream.aclose()
    consoles.now = 3 * LIMITS.idle
    assert await sessions.end_idle() == [session.id]


async def test_at_the_end_every_session_ends(consoles: Consoles, sessions: Sessions) -> None:
    for _ in range(2):
        await opened(consoles)
    await sessions.end_all("over")
    assert [stage.closed for stage in consoles.stages] == [True, True]
    with pytest.raises(UnknownSession):
        await sessions.end("session-1", "again")
