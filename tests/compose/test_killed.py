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
from compose.fixture import ContainedVm, broken, found_in_normal_memory, lives_through_uv_esm, one_vm
from compose.tenants import SIZE, three_tenants
from pef_lab.designs.run import image_for
from pef_lab.endpoint import Endpoint
from pef_lab.failures import Unanswered
from pef_lab.guest import LARGEST_ACCESS, Guest, World
from pef_lab.image import GuestImage
from pef_lab.minting import guest_token
from pef_lab.vmm import Vmm
from pef_lab.watch import Watch
from pef_protocol.calls import Reply
from pef_protocol.designs import Design
from pef_protocol.events import Side
from pef_protocol.http import GUEST_PATH
from pef_protocol.quantities import Lpid

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


async def act_on_nobody(pair: Project, tokens: list[tuple[Side, str]], lpid: Lpid) -> None:
    """Check that guests' tokens of the past are unknown, even where a new VM has an lpid of then."""
    async with Vmm(pair.endpoints()) as vmm:
        heirs = [await vmm.create(Design.TRACKED)]
        while heirs[-1] < lpid:
            heirs.append(await vmm.create(Design.TRACKED))
        assert heirs[-1] == lpid
        for side, token in tokens:
            async with Endpoint(side, pair.url(side), token) as endpoint:
                with pytest.raises(Unanswered, match="HTTP status 401"):
                    await endpoint.send(GUEST_PATH + "load", b"", gpa=0, length=1)
        for each in heirs:
            await vmm.destroy(each)


async def load_image(pair: Project, vm: ContainedVm) -> GuestImage:
    """Load a VM with an image for the Ultravisor that there is now."""
    async with Watch(pair.endpoints()) as watch:
        image = image_for(vm.size, await watch.machine_public_key())
    for gpa, content in image.layout:
        await vm.vmm.write(vm.lpid, gpa, content)
    return image


async def enter_secure_mode(pair: Project, vm: ContainedVm, image: GuestImage) -> Reply:
    """Make UV_ESM for a VM, where the Ultravisor is reached now."""
    async with Guest(pair.endpoints(), vm.lpid) as guest:
        return await guest.enter_secure_mode(image.kernel_base, image.fdt_address)


@WHEN
@pytest.mark.parametrize("by", SIGNALS, ids=lambda each: each.name)
async def test_the_hypervisor_dies(killable: Project, by: signal.Signals, *, entering: bool) -> None:
    """A Hypervisor that dies takes its VMs with it.

    Given three tenants at work, When the Hypervisor dies, Then it is started again, all work of theirs has
    ended, no side lists a VM of theirs, and none of their bytes is in normal memory or in a new VM.
    """
    async with three_tenants(killable.endpoints(), entering=entering) as tenants:
        if not entering:  # looking takes as long as a UV_ESM
            assert tenants.normal.private in found_in_normal_memory(killable, *tenants.canaries)
        lpids = [tenant.vm.lpid for tenant in (*tenants.secure, tenants.normal)]
        tokens = [
            (side, await guest_token(killable.endpoints(), side, each)) for side in Side for each in lpids
        ]
        await dies_and_is_back(killable, "hypervisor", by)
        for side in Side:
            assert await listed(killable, side) == ({}, 0)
        async with asyncio.timeout(BOUND):
            await tenants.have_ended(*tenants.secure_work, tenants.normal_work)
        assert found_in_normal_memory(killable, *tenants.canaries) == set()
        await act_on_nobody(killable, tokens, lpids[0])
        await new_tenant_reads_none_of(killable, tenants.canaries)


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
            image = await load_image(killable, tenant.vm)
            assert (await enter_secure_mode(killable, tenant.vm, image)).code.succeeded
        await new_tenant_reads_none_of(killable, tenants.canaries)


async def test_an_image_stays_good_when_the_ultravisor_is_another(killable: Project) -> None:
    """Given a normal VM, When the Ultravisor dies, Then the VM becomes secure from the image that it has."""
    async with one_vm(killable.endpoints(), size=SIZE) as vm:
        await dies_and_is_back(killable, "ultravisor")
        assert (await enter_secure_mode(killable, vm, vm.image)).code.succeeded
