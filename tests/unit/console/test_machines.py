"""The thread of the machines: work comes one after the other, and never on the event loop."""

import threading

import anyio
import pytest

from pef_console.machines import Machines


@pytest.fixture
def machines() -> Machines:
    return Machines()


async def test_work_runs_in_one_thread_that_is_not_the_event_loops(machines: Machines) -> None:
    threads = {await machines.run(threading.get_ident) for _ in range(5)}
    assert len(threads) == 1
    assert threading.get_ident() not in threads
    machines.close()


async def test_the_event_loop_goes_on_while_work_runs(machines: Machines) -> None:
    go, gone = threading.Event(), anyio.Event()

    async def wait() -> None:
        assert await machines.run(lambda: go.wait(30))
        gone.set()

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        group.start_soon(anyio.lowlevel.checkpoint)
        assert not gone.is_set()
        go.set()
        await gone.wait()
    machines.close()


async def test_what_work_raises_is_raised(machines: Machines) -> None:
    def fail() -> None:
        raise LookupError("nothing")

    with pytest.raises(LookupError, match="nothing"):
        await machines.run(fail)
    machines.close()
