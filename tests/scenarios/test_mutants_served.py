"""Mutants in a pair of processes: they are seen over HTTP as in one process, and only where they were put."""

import pytest

from harness.live import LivePlan, live_pair
from harness.live_vm import secure_vm
from mutants.served import served
from pef_protocol.designs import Design
from pef_protocol.events import Side
from pef_protocol.hypercalls import SvmInitStart

pytestmark = pytest.mark.verify

PLAN = LivePlan(between=False)


async def what_is_seen() -> tuple[str, list[str]]:
    """Tell what a second H_SVM_INIT_START is answered, and in which state unshare-all leaves GFNs 0 and 1."""
    async with live_pair(PLAN) as pair:
        async with secure_vm(pair, Design.TRACKED) as vm:
            await vm.guest.share(0, 2)
            await vm.guest.unshare_all()
            (slot,) = await pair.watch.slots(Side.ULTRAVISOR, vm.lpid)
        lpid = await pair.vmm.create(Design.TRACKED)
        await pair.hypercall(SvmInitStart(lpid))
        again = await pair.hypercall(SvmInitStart(lpid))
        states = {first + at: state for first, count, state in slot.states for at in range(count)}
        return again.code.name, [states[0], states[1]]


@pytest.mark.sockets
@pytest.mark.slow
async def test_mutants_of_both_sides_are_seen_over_http_and_only_where_they_are_served() -> None:
    """Given a mutant of each side.

    When a pair that bears both is asked, and then a sound one,
    then both mutants are seen in the first, and none in the second.
    """
    sound = ("H_STATE", ["SECURE", "SECURE"])
    with served("K3", "D14"):
        assert await what_is_seen() == ("H_SUCCESS", ["SHARED", "SECURE"])
    assert await what_is_seen() == sound
