"""What the tests of identity share: a pair that has one lpid to give."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from identity.two_visors import TwoVisors, two_visors
from pef_hypervisor import state as store


@pytest.fixture
async def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TwoVisors]:
    """Start both services, with one lpid for all VMs."""
    monkeypatch.setattr(store, "LPIDS", range(1, 2))
    async with two_visors(tmp_path) as running:
        yield running
        assert await running.broken() == []
