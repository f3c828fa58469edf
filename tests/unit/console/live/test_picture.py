"""The map of 100 GiB, on a real pair."""

import asyncio

import numpy as np
import pytest

from harness.live_session import session
from pef_console.live.columns import NOTHING
from pef_console.live.pairs import Places, own_pair
from pef_protocol.quantities import Gfn
from pef_protocol.states import HvGfnState, UvGfnState
from pef_protocol.ultracalls import SharePage

pytestmark = [pytest.mark.anyio, pytest.mark.sockets, pytest.mark.verify]
MEMORY = 100 << 30
ODD = 1500


async def test_1500_shared_pages_of_100_gib_are_in_the_map() -> None:
    """Given a secure VM of 100 GiB with 1,500 shared pages, then the map of 4,096 cells shows each."""
    async with session(await own_pair(MEMORY + (1 << 30), Places()), memory=MEMORY) as live:
        frame = await live.boot()
        assert frame["ended"] == "ends U_SUCCESS"
        assert frame["map"]["gfns"] == MEMORY >> 16
        before = await live.stage.map(4096)
        vm = live.stage.own_vm()
        odd = np.arange(ODD, dtype=np.int64) * 1000 + 20_000
        live.pair.traffic.free = True
        for first in range(0, ODD, 16):
            calls = (SharePage(Gfn(gfn), 1) for gfn in odd[first : first + 16].tolist())
            await asyncio.gather(*(vm.small.ultravisor.call("UV_SHARE_PAGE", call) for call in calls))
        shown = await live.stage.map(4096)
        rows = np.frombuffer(shown.octets, np.uint8).reshape(3, 4096)
        cells = np.unique(np.searchsorted(np.arange(4096) * (MEMORY >> 16) // 4096, odd, side="right") - 1)
        assert set(cells) <= set(np.flatnonzero(rows[0] == HvGfnState.SHARED))
        assert set(cells) == set(np.flatnonzero(rows[1] == UvGfnState.SHARED))
        assert not rows[2].any()
        assert NOTHING not in rows
        assert shown.etag != before.etag
        assert (await live.stage.map(4096)).etag == shown.etag
