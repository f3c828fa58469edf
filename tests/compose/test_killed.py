"""Either side dies while three tenants are at work: it is started again, and nobody reads what was another's.

A Hypervisor that restarts is a reboot of the host: all VMs are gone. An Ultravisor that restarts is a reset
of the machine: SVMs are dead, normal VMs go on. In both cases a new VM becomes secure afterwards.
"""

import asyncio
import os
import signal
from typing import Any, Final

import httpx
import pytest

from compose.containers import SIDES, Project
from compose.scene import ContainedVm, broken, found_in_normal_memory, lives_through_uv_esm, one_vm
from compose.tenants import SIZE, three_tenants
from pef_lab.guest import LARGEST_ACCESS, World
from pef_lab.watch import Watch
from pef_protocol.events import Side

BOUND: Final = 60.0
"""Seconds in which a request that lost its peer must have ended; these containers wait five at a time."""
BACK: Final = 120.0
"""Seconds in which a side must be back: its start, and a health check that looks every three."""
WHEN: Final = pytest.mark.parametrize("entering", [False, True], ids=["at-rest", "during-uv-esm"])
SIGNALS: Final = (signal.SIGKILL, signal.SIGTERM)


async def dies_and_is_back(pair: Project, side: str, by: signal.Signals = signal.SIGKILL) -> None:
    """End a side's process, as a crash does, and wait until both sides are ready again.

    The signal comes from this machine: `docker kill` would switch the restart policy off.
    """
    process = pair.inspected(side)["State"]["Pid"]
    os.kill(process, by)
    async with asyncio.timeout(BACK):
        while not _is_another(await asyncio.to_thread(pair.inspected, side), process):
            pass
        for each in SIDES:
            await _until_ready(await asyncio.to_thread(pair.url, each))


def _is_another(inspected: dict[str, Any], process: int) -> bool:
    state = inspected["State"]
    return state["Pid"] not in {0, process} and state["Health"]["Status"] == "healthy"


async def _until_ready(url: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        while (await client.get(f"{url}/readyz")).status_code != httpx.codes.OK:
            pass


async def listed(pair: Project, side: Side) -> tuple[dict[int, str], int]:
    """Return the VMs that a side lists, with their states, and the pages of its pool that are in use."""
    async with Watch(pair.endpoints()) as watch:
        vms, pool = await watch.vms(side)
    return {lpid: vm.state for lpid, vm in vms.items()}, pool.used


async def is_sane(pair: Project) -> None:
    """Check that both sides answer, and say that nothing of theirs is broken."""
    for side in SIDES:
        assert await broken(pair.url(side), pair.tokens["pef_observer_token"]) == []


async def reads_none_of(vm: ContainedVm, canaries: set[bytes]) -> None:
    """Check that a VM finds no canary in its memory; an SVM may not load its bounce pages, which lie last."""
    readable = vm.size - (LARGEST_ACCESS if vm.guest.world is World.SECURE else 0)
    async for gpa, content in vm.guest.load_range(0, readable):
        assert not [canary for canary in canaries if canary in content], f"a canary at or after {gpa:#x}"


async def new_tenant_reads_none_of(pair: Project, canaries: set[bytes]) -> None:
    """Check that a new VM, normal and then secure, finds no canary, and that another lives as it should."""
    async with one_vm(pair.endpoints(), size=SIZE) as vm:
        await reads_none_of(vm, canaries)
        assert (await vm.secure()).code.succeeded
        await reads_none_of(vm, canaries)
    await lives_through_uv_esm(pair.endpoints())
    await is_sane(pair)


@WHEN
@pytest.mark.parametrize("by", SIGNALS, ids=lambda each: each.name)
async def test_the_hypervisor_dies(killable: Project, by: signal.Signals, *, entering: bool) -> None:
    """A Hypervisor that dies takes its VMs with it.

    Given three tenants at work, When the Hypervisor dies, Then it is started again, all work of theirs has
    ended, no side lists a VM of theirs, and none of their bytes is in normal memory or in a new VM.
    """
    async with three_tenants(killable.endpoints(), entering=entering) as tenants:
        assert tenants.normal.private in found_in_normal_memory(killable, *tenants.canaries)
        await dies_and_is_back(killable, "hypervisor", by)
        for side in Side:
            assert await listed(killable, side) == ({}, 0)
        async with asyncio.timeout(BOUND):
            await tenants.have_ended(*tenants.secure_work, tenants.normal_work)
        assert found_in_normal_memory(killable, *tenants.canaries) == set()
        await new_tenant_reads_none_of(killable, tenants.canaries)


@pytest.mark.xfail(strict=True, reason="a Hypervisor does not yet make its VMs fit another Ultravisor")
@WHEN
async def test_the_ultravisor_dies(killable: Project, *, entering: bool) -> None:
    """An Ultravisor that dies takes SVMs with it, and nothing else.

    Given three tenants at work, When the Ultravisor dies, Then it is started again, the normal VM never
    noticed, the others are normal VMs or are made so by a reset, none of their secrets is in normal memory,
    and no VM has bytes of another. All three become secure.
    """
    async with three_tenants(killable.endpoints(), entering=entering) as tenants:
        await dies_and_is_back(killable, "ultravisor")
        await tenants.normal_work.rounds(2)
        async with asyncio.timeout(BOUND):
            await tenants.have_ended(*tenants.secure_work)
        assert (await listed(killable, Side.ULTRAVISOR))[1] == 0
        for tenant in tenants.secure:
            await tenant.vm.vmm.reset(tenant.vm.lpid)
        states, used = await listed(killable, Side.HYPERVISOR)
        assert (set(states.values()), used) == ({"NORMAL"}, 0)
        assert found_in_normal_memory(killable, *tenants.secrets) == set()
        for tenant in (*tenants.secure, tenants.normal):
            tenant.vm.guest.rebooted()
            await reads_none_of(tenant.vm, tenants.canaries - {tenant.private, tenant.shared})
            assert (await tenant.vm.secure()).code.succeeded
        await new_tenant_reads_none_of(killable, tenants.canaries)
