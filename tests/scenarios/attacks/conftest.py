"""One pair for each module of attacks, and a secure VM for each attack."""

from collections.abc import AsyncIterator

import pytest

from harness.live import LivePair, live_pair
from harness.live_vm import LiveVm, secure_vm


@pytest.fixture(scope="module")
async def pair() -> AsyncIterator[LivePair]:
    """Start a pair."""
    async with live_pair() as running:
        yield running


@pytest.fixture
async def vm(pair: LivePair) -> AsyncIterator[LiveVm]:
    """Make a secure VM; after the attack nothing may be broken on either side."""
    async with secure_vm(pair) as secure:
        yield secure
        pair.to_hypervisor.honest_again()
        pair.to_ultravisor.honest_again()
        await pair.to_hypervisor.settled()
        assert await pair.broken() == []
