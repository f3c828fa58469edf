"""Hot-plug: a memory slot comes to a running SVM, and goes."""

from collections.abc import Awaitable
from typing import Final

from pef_lab.designs.plan import PLUGGED
from pef_lab.designs.private_pages import CIPHERTEXT
from pef_lab.designs.scene import Scene
from pef_lab.failures import Refusal
from pef_lab.pages import OPAQUE, ZERO, Generation
from pef_protocol.quantities import PAGE_SIZE

PLUGGED_SLOT: Final = 1
REFUSED: Final = "refused to guest and host"


async def hot_add(scene: Scene) -> None:
    """Plug a slot into the SVM and use it."""
    plan, plugged = scene.plan, Generation.PLUGGED
    await scene.remember_pools("before hot-add")
    await scene.vmm.plug(scene.lpid, PLUGGED_SLOT, plan.plugged_gpa, PLUGGED)
    await scene.did("a slot is plugged in")
    await scene.tables_agree("after a slot was plugged in")
    await scene.guest_sees("guest reads plugged memory", plan.plugged, "zero", ZERO)
    await scene.guest_writes(plugged, plan.plugged)
    await scene.host_sees("host reads what the guest wrote there", plan.plugged, CIPHERTEXT, OPAQUE)
    await scene.guest_sees("guest reads it back", plan.plugged, plugged.words, plugged)


async def hot_remove(scene: Scene) -> None:
    """Unplug the slot: nobody reaches it any more, and both pools are as before."""
    await scene.vmm.unplug(scene.lpid, PLUGGED_SLOT)
    await scene.did("the slot is unplugged")
    gpa = scene.plan.plugged_gpa
    reached = []
    if await _resolves(scene.guest.load(gpa, PAGE_SIZE)):
        reached.append("guest")
    if await _resolves(scene.vmm.read(scene.lpid, gpa, PAGE_SIZE)):
        reached.append("host")
    observed = f"open to {' and '.join(reached)}" if reached else REFUSED
    scene.findings.see("access to unplugged memory", REFUSED, observed, ok=not reached)
    await scene.pools_are_as("before hot-add", "after the slot was unplugged")
    await scene.tables_agree("after the slot was unplugged")


async def _resolves(access: Awaitable[bytes]) -> bool:
    """Tell whether an access is answered with bytes."""
    try:
        await access
    except Refusal:
        return False
    return True
