"""A person presses Enter: what waits goes on then, and at the end of the input."""

import asyncio
import io
import os

from rich.console import Console

from pef_lab.waiting import GO_ON, enter


async def test_it_waits_until_a_line_has_come() -> None:
    reads, writes = os.pipe()
    shown = io.StringIO()
    wait = enter(Console(file=shown), reads)
    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    os.write(writes, b"any words")
    await asyncio.sleep(0)
    assert not waiting.done()
    os.write(writes, b"\n")
    await asyncio.wait_for(waiting, 10)
    assert shown.getvalue() == f"{GO_ON}\n"
    os.close(writes)
    await asyncio.wait_for(wait(), 10)
    os.close(reads)
