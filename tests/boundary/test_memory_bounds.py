"""A 100 GiB VM of which 100 MiB was touched: created and made secure with little memory in either service."""

import re
from pathlib import Path

import pytest

from harness.live import MIB, LivePlan, live_pair
from harness.live_vm import live_vm
from pef_lab.service_process import ServiceProcess
from pef_protocol.codes import UCode
from pef_protocol.events import Side

pytestmark = [pytest.mark.sockets, pytest.mark.slow]

GIB = 1 << 30
SIZE = 100 * GIB
HOST_POPULATED = 100 * MIB
BOUND = 200_000_000
PIECE = MIB


def resident(service: ServiceProcess) -> int:
    """Return the bytes that a process has for itself: without files, and pages of the shared mapping."""
    status = Path(f"/proc/{service.pid}/status").read_text(encoding="ascii")
    found = re.search(r"RssAnon:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


async def test_a_large_vm_takes_little_memory() -> None:
    """Given a VM of 100 GiB of which the guest touched 100 MiB.

    When it becomes secure and is viewed,
    then each service stays under its bound, with at most 2 bytes of columns per GFN.
    """
    plan = LivePlan(secure_memory=SIZE + GIB, normal_memory_size=SIZE + GIB, between=False)
    async with live_pair(plan) as pair, live_vm(pair, memory=SIZE) as vm:
        most = dict.fromkeys(("Ultravisor", "Hypervisor"), 0)

        def measure() -> None:
            for service in (pair.ultravisor, pair.hypervisor):
                most[service.name] = max(most[service.name], resident(service))

        await vm.load_image()
        text = b"touched." * (PIECE // 8)
        for number in range(HOST_POPULATED // PIECE):
            await vm.guest.store(GIB + number * (SIZE // 128), text)
            measure()
        assert (await vm.secure()).code is UCode.U_SUCCESS
        measure()
        await vm.image_is_whole()
        for side in Side:
            await pair.watch.slots(side, vm.lpid)
        measure()
        assert all(bytes_ < BOUND for bytes_ in most.values()), most
        records = [(await pair.watch.vms(side))[0][vm.lpid] for side in Side]
        assert {record.state for record in records} == {"SECURE"}
        assert all(record.column_bytes / record.gfns <= 2 for record in records)
