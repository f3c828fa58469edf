"""A pair of services for all tests of a module: each session on it has a VM of its own."""

from collections.abc import AsyncIterator

import pytest

from harness.live_session import SECURE_MEMORY
from pef_console.live.pairs import Places, SessionPair, own_pair


@pytest.fixture(scope="module")
async def pair() -> AsyncIterator[SessionPair]:
    """Start a pair, and stop it."""
    found = await own_pair(SECURE_MEMORY, Places())
    try:
        yield found
    finally:
        await found.close()
