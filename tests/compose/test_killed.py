"""Either side killed in the midst of a UV_ESM: the documented errors, and the other side stays sane.

The guest's call ends with an error that names call and peer, or with its connection; whoever is left answers
and breaks no invariant of its own; and the pair serves new VMs once the other is back.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from compose.containers import Project, output_of
from compose.scene import ContainedVm, broken, lives_through_uv_esm, one_vm
from pef_lab.failures import Refusal, Unanswered
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.designs import Design
from pef_protocol.events import Side

BOUND = 60.0
"""Seconds in which a call that lost its peer must have ended; these containers wait five at a time."""
IN_THE_MIDST = 100
"""Hypercalls of a UV_ESM after which a side is killed; it needs some 4,000."""
KILLED = 137


@asynccontextmanager
async def in_the_midst_of_uv_esm(pair: Project) -> AsyncIterator[tuple[ContainedVm, asyncio.Task[Reply]]]:
    """Have a VM whose UV_ESM is under way, and the task that waits for its end."""
    async with one_vm(pair.endpoints(), Design.EAGER) as vm:
        before = await vm.watch.counters()
        call = asyncio.create_task(vm.secure())
        while (await vm.watch.counters()).since(before).hypercalls < IN_THE_MIDST:
            assert not call.done(), "UV_ESM ended before it could be disturbed"
        assert await states(vm) == {Side.ULTRAVISOR: "ACTIVE", Side.HYPERVISOR: "TRANSIENT"}
        yield vm, call


async def states(vm: ContainedVm) -> dict[Side, str]:
    """Return what each side says of the VM."""
    return {side: (await vm.watch.vms(side))[0][vm.lpid].state for side in Side}


def kill(pair: Project, side: str) -> None:
    """Kill a side as the engine does: no warning, no farewell."""
    output_of("docker", "kill", pair.container(side))
    assert pair.inspected(side)["State"]["ExitCode"] == KILLED


async def is_sane(pair: Project, *sides: str) -> None:
    """Check that sides answer, and say that nothing of theirs is broken."""
    for side in sides:
        assert await broken(pair.url(side), pair.tokens["pef_observer_token"]) == []


async def test_the_hypervisor_is_killed_during_uv_esm(killable: Project) -> None:
    async with in_the_midst_of_uv_esm(killable) as (vm, call):
        kill(killable, "hypervisor")
        async with asyncio.timeout(BOUND):
            reply = await call
        assert reply.code is UCode.U_STATE
        assert "H_SVM_PAGE_IN to hypervisor: " in reply.detail
        assert "H_SVM_INIT_ABORT to hypervisor: " in reply.detail
        assert reply.detail.endswith("the SVM waits for UV_SVM_TERMINATE")
        await is_sane(killable, "ultravisor")
        assert (await vm.watch.vms(Side.ULTRAVISOR))[0][vm.lpid].state == "ABORT"
        assert (await vm.secure()).code is UCode.U_STATE
        with pytest.raises(Unanswered):
            await vm.vmm.reset(vm.lpid)
        demo = killable.compose("run", "--rm", "--no-deps", "-T", "demo")
        assert (demo.returncode, "no answer" in demo.stdout + demo.stderr) == (1, True)
    killable.up()
    await is_sane(killable, "ultravisor", "hypervisor")
    await lives_through_uv_esm(killable.endpoints())
    await is_sane(killable, "ultravisor", "hypervisor")


async def test_the_ultravisor_is_killed_during_uv_esm(killable: Project) -> None:
    async with in_the_midst_of_uv_esm(killable) as (vm, call):
        kill(killable, "ultravisor")
        with pytest.raises(Unanswered, match="UV_ESM at the Ultravisor: no answer"):
            async with asyncio.timeout(BOUND):
                await call
        await is_sane(killable, "hypervisor")
        assert (await vm.watch.vms(Side.HYPERVISOR))[0][vm.lpid].state == "TRANSIENT"
        with pytest.raises(Refusal, match="UV_SVM_TERMINATE to ultravisor: ") as refusal:
            async with asyncio.timeout(BOUND):
                await vm.vmm.reset(vm.lpid)
        assert refusal.value.code == "EINVAL"
        await is_sane(killable, "hypervisor")
        killable.up()
        await is_sane(killable, "ultravisor", "hypervisor")
        await vm.vmm.reset(vm.lpid)
        assert (await vm.watch.vms(Side.HYPERVISOR))[0][vm.lpid].state == "NORMAL"
    await lives_through_uv_esm(killable.endpoints())
    await is_sane(killable, "ultravisor", "hypervisor")
