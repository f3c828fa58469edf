"""Pages that nobody wrote are holes: whatever is done with them, they cost neither side memory."""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from harness.live import MIB, LivePlan, live_pair
from harness.live_vm import LiveVm, live_vm
from pef_lab.service_process import ServiceProcess
from pef_protocol.quantities import PAGE_SIZE, gpa_of

pytestmark = [pytest.mark.sockets]

PAGES = 256
FIRST = 512
MEMORY = 64 * MIB
SMALL = MIB
"""Bytes that an operation on 16 MiB of untouched pages may cost a file or a process."""
ANONYMOUS = 6 * MIB
"""The same of a process: buffers of a body are kept for the next one."""

Act = Callable[[LiveVm], Awaitable[object]]


async def _share(vm: LiveVm) -> None:
    await vm.guest.share(FIRST, PAGES)


async def _unshare(vm: LiveVm) -> None:
    await vm.guest.unshare(FIRST, PAGES)


async def _load(vm: LiveVm) -> None:
    for page in range(FIRST, FIRST + PAGES, 16):
        assert not any(await vm.guest.load(gpa_of(page), 16 * PAGE_SIZE))


async def _host_read(vm: LiveVm) -> None:
    for page in range(FIRST, FIRST + PAGES, 16):
        assert not any(await vm.pair.vmm.read(vm.lpid, gpa_of(page), 16 * PAGE_SIZE))


STEPS: tuple[tuple[str, Act], ...] = (
    ("the guest loads secure pages", _load),
    ("the guest shares them", _share),
    ("the guest shares them again", _share),
    ("the guest loads shared pages", _load),
    ("the host reads shared pages", _host_read),
    ("the guest takes them back", _unshare),
    ("the guest loads what it took back", _load),
    ("the guest shares what it took back", _share),
    ("the guest loads what it shared again", _load),
)


def _anonymous(service: ServiceProcess) -> int:
    status = Path(f"/proc/{service.pid}/status").read_text(encoding="ascii")
    found = re.search(r"RssAnon:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


@pytest.mark.parametrize(
    "mapped", [pytest.param(True, id="mapped"), pytest.param(False, id="http", marks=pytest.mark.verify)]
)
async def test_untouched_pages_cost_nothing(*, mapped: bool) -> None:
    """Given an SVM that never wrote 16 MiB of its pages.

    When these are shared, read from both sides and taken back,
    then they read as zero, and neither the file nor a process grows with them.
    """
    plan = LivePlan(normal_memory_size=2 * MEMORY, secure_memory=2 * MEMORY, mapped=mapped, between=False)
    async with live_pair(plan) as pair, live_vm(pair, memory=MEMORY) as vm:
        await vm.boot()
        services = (pair.ultravisor, pair.hypervisor)
        costs: dict[str, tuple[int, ...]] = {}
        for name, act in STEPS:
            file, before = pair.normal_memory.stat().st_blocks, [_anonymous(each) for each in services]
            await act(vm)
            costs[name] = (
                (pair.normal_memory.stat().st_blocks - file) * 512,
                *(_anonymous(each) - old for each, old in zip(services, before, strict=True)),
            )
        assert all(file <= SMALL and max(own) <= ANONYMOUS for file, *own in costs.values()), costs
