"""Hot-plug: a memory slot comes to a running SVM, and goes."""

from collections.abc import Awaitable
from typing import Final

from pef_lab.designs.fixture import Fixture
from pef_lab.designs.plan import PLUGGED
from pef_lab.designs.private_pages import CIPHERTEXT
from pef_lab.failures import Refusal
from pef_lab.pages import OPAQUE, ZERO, Generation
from pef_protocol.quantities import PAGE_SIZE

PLUGGED_SLOT: Final = 1
REFUSED: Final = "refused to guest and host"


async def hot_add(fixture: Fixture) -> None:
    """Plug a slot into the SVM and use it."""
    plan, plugged = fixture.plan, Generation.PLUGGED
    await fixture.remember_pools("before hot-add")
    await fixture.vmm.plug(fixture.lpid, PLUGGED_SLOT, plan.plugged_gpa, PLUGGED)
    await fixture.did("a slot is plugged in")
    await fixture.tables_agree("after a slot was plugged in")
    await fixture.guest_sees("guest reads plugged memory", plan.plugged, "zero", ZERO)
    await fixture.guest_writes(plugged, plan.plugged)
    await fixture.host_sees("host reads what the guest wrote there", plan.plugged, CIPHERTEXT, OPAQUE)
    await fixture.guest_sees("guest reads it back", plan.plugged, plugged.words, plugged)


async def hot_remove(fixture: Fixture) -> None:
    """Unplug the slot: nobody reaches it any more, and both pools are as before."""
    await fixture.vmm.unplug(fixture.lpid, PLUGGED_SLOT)
    await fixture.did("the slot is unplugged")
    gpa = fixture.plan.plugged_gpa
    reached = []
    if await _resolves(fixture.guest.load(gpa, PAGE_SIZE)):
        reached.append("guest")
    if await _resolves(fixture.vmm.read(fixture.lpid, gpa, PAGE_SIZE)):
        reached.append("host")
    observed = f"open to {' and '.join(reached)}" if reached else REFUSED
    fixture.findings.see("access to unplugged memory", REFUSED, observed, ok=not reached)
    await fixture.pools_are_as("before hot-add", "after the slot was unplugged")
    await fixture.tables_agree("after the slot was unplugged")


async def _resolves(access: Awaitable[bytes]) -> bool:
    """Tell whether an access is answered with bytes."""
    try:
        await access
    except Refusal:
        return False
    return True
