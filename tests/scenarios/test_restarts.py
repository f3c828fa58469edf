"""A side is killed and started again under a secure VM, as real processes.

A Hypervisor's restart is a reboot of the host: its SVMs end before the new one's first call. An Ultravisor's
is a reset of the machine: SVMs are dead, normal VMs go on. ARCHITECTURE.md, "Identity and time".
"""

from collections.abc import AsyncIterator

import pytest

from harness.live_vm import FREE
from harness.restarts import Restartable, guest_of, make_secure, restartable
from pef_lab.between.fault_injections import after
from pef_lab.between.passing import Passing
from pef_lab.failures import Refusal, Unanswered
from pef_lab.guest import World
from pef_protocol.events import Side
from pef_protocol.quantities import PAGE_SIZE, gpa_of

pytestmark = [pytest.mark.sockets, pytest.mark.slow]

PAGE = b"what a guest wrote".ljust(PAGE_SIZE, b".")


@pytest.fixture
async def pair() -> AsyncIterator[Restartable]:
    async with restartable() as one:
        yield one


async def test_46_svms_of_a_hypervisor_that_died_end_before_the_first_call_of_the_next(
    pair: Restartable,
) -> None:
    """Given a secure VM with private and shared pages.

    When its Hypervisor is killed and started again,
    then the SVM has ended before the next one's first ultracall, and nothing of it is left.
    """
    epoch = await pair.epoch()
    async with guest_of(pair.endpoints, pair.vmm) as guest, guest_of(pair.endpoints, pair.vmm):
        await make_secure(guest, pair.vmm, await pair.image())
        await guest.store(gpa_of(FREE), PAGE)
        await guest.share(FREE + 1)
        assert (await pair.watch.vms(Side.ULTRAVISOR))[1].used > 0
        pair.kill(Side.HYPERVISOR)
        pair.to_ultravisor.honest_again()
        seen: list[tuple[dict[int, object], int, list[str]]] = []

        async def observe(_: Passing) -> None:
            vms, pool = await pair.watch.vms(Side.ULTRAVISOR)
            seen.append((dict(vms), pool.used, [*pair.to_ultravisor.names]))

        pair.to_ultravisor.always("hello", after(observe))
        pair.start(Side.HYPERVISOR)
        await pair.ready()
        assert [(vms, used) for vms, used, _ in seen] == [({}, 0)]
        assert not [name for name in seen[0][2] if name.startswith("UV_")]
        with pytest.raises((Refusal, Unanswered)):
            await guest.load(gpa_of(FREE), PAGE_SIZE)
    assert (await pair.watch.vms(Side.HYPERVISOR))[0] == {}
    now = await pair.epoch()
    assert now["epoch"] != epoch["epoch"]
    assert now["owner"] != epoch["owner"]
    assert pair.memory is not None
    assert len([*pair.memory.glob("normal-memory-*")]) == 1
    async with guest_of(pair.endpoints, pair.vmm) as guest:
        await make_secure(guest, pair.vmm, await pair.image())
        assert await guest.load(gpa_of(FREE), PAGE_SIZE) == bytes(PAGE_SIZE)


async def test_normal_vms_go_on_while_their_ultravisor_is_gone_and_when_another_one_is_there(
    pair: Restartable,
) -> None:
    """Given a normal VM.

    When the Ultravisor is killed and started again,
    then the VM goes on all the time, and a new VM becomes secure.
    """
    epoch = await pair.epoch()
    async with guest_of(pair.endpoints, pair.vmm) as guest:
        await guest.store(gpa_of(FREE), PAGE)
        pair.kill(Side.ULTRAVISOR)
        assert await guest.load(gpa_of(FREE), PAGE_SIZE) == PAGE
        pair.start(Side.ULTRAVISOR)
        await pair.ready()
        assert await guest.load(gpa_of(FREE), PAGE_SIZE) == PAGE
        await guest.store(gpa_of(FREE + 1), PAGE)
        now = await pair.epoch()
        assert now["epoch"].partition(".")[0] != epoch["epoch"].partition(".")[0]
        assert now["owner"] == epoch["owner"]
        async with guest_of(pair.endpoints, pair.vmm) as newcomer:
            await make_secure(newcomer, pair.vmm, await pair.image())


async def test_a_normal_vm_can_become_secure_under_the_next_ultravisor(pair: Restartable) -> None:
    """Given a normal VM, when the Ultravisor is killed and started again, then the VM can become secure."""
    async with guest_of(pair.endpoints, pair.vmm) as guest:
        pair.kill(Side.ULTRAVISOR)
        pair.start(Side.ULTRAVISOR)
        await pair.ready()
        await make_secure(guest, pair.vmm, await pair.image())


async def test_an_svm_of_an_ultravisor_that_died_is_normal_again_and_its_pages_are_zero(
    pair: Restartable,
) -> None:
    """Given a secure VM with a page.

    When the Ultravisor is killed and started again,
    then the VM is normal, its page reads zero, and it can become secure.
    """
    async with guest_of(pair.endpoints, pair.vmm) as guest:
        await make_secure(guest, pair.vmm, await pair.image())
        await guest.store(gpa_of(FREE), PAGE)
        pair.kill(Side.ULTRAVISOR)
        pair.start(Side.ULTRAVISOR)
        await pair.ready()
        states = {side: (await pair.watch.vms(side))[0][guest.lpid].state for side in Side}
        assert set(states.values()) == {"NORMAL"}
        assert set((await pair.watch.pools()).values()) == {0}
        guest.world = World.NORMAL
        assert await guest.load(gpa_of(FREE), PAGE_SIZE) == bytes(PAGE_SIZE)
        await make_secure(guest, pair.vmm, await pair.image())
