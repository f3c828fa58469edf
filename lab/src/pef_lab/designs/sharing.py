"""Sharing: a resident page, a paged-out one and one that the host unmaps; and back again."""

from pef_lab.designs.plan import Run
from pef_lab.designs.private_pages import CIPHERTEXT
from pef_lab.designs.scene import Scene
from pef_lab.pages import OPAQUE, ZERO, Generation, text_of
from pef_protocol.quantities import gpa_of

BY_HOST = Generation.SHARED_BY_HOST
BY_GUEST = Generation.SHARED_BY_GUEST


async def share_unshare(scene: Scene) -> None:
    """Share three pages, speak both ways through each, and take the first one back."""
    plan = scene.plan
    await _share_and_speak(scene, plan.shared, "a page")
    await scene.tables_agree("while a page is shared")
    await _take_back(scene, plan.shared)
    paged_out = [Run(plan.shared_after_out, 1)]
    await scene.host_touches("the host reads a private page, which pages it out", paged_out)
    await _share_and_speak(scene, plan.shared_after_out, "a paged-out page")
    await _share_and_speak(scene, plan.invalidated, "another page")
    await scene.vmm.unmap(scene.lpid, gpa_of(plan.invalidated), 1)
    await scene.did("the host unmaps a shared page")
    unmapped = [Run(plan.invalidated, 1)]
    await scene.guest_sees("guest reads a shared page after an unmap", unmapped, BY_GUEST.words, BY_GUEST)
    await scene.tables_agree("after sharing")


async def _share_and_speak(scene: Scene, gfn: int, which: str) -> None:
    """Share a private page: it must be zero, then carry text both ways. The guest writes last."""
    page = [Run(gfn, 1)]
    await scene.guest.share(gfn)
    await scene.did(f"the guest shares {which}")
    await scene.guest_sees(f"guest reads {which} just shared", page, "zero", ZERO)
    await scene.host_sees(f"host reads {which} just shared", page, "zero", ZERO)
    await scene.vmm.write(scene.lpid, gpa_of(gfn), text_of(BY_HOST, gfn, 1))
    await scene.guest_sees(f"guest reads {which} that the host wrote", page, BY_HOST.words, BY_HOST)
    await scene.guest_writes(BY_GUEST, page)
    await scene.host_sees(f"host reads {which} that the guest wrote", page, BY_GUEST.words, BY_GUEST)


async def _take_back(scene: Scene, gfn: int) -> None:
    """Unshare a page: it must be zero for the guest, and private again."""
    page = [Run(gfn, 1)]
    await scene.guest.unshare(gfn)
    await scene.did("the guest unshares a page")
    await scene.guest_sees("guest reads a page just unshared", page, "zero", ZERO)
    await scene.guest_writes(Generation.PRIVATE, page)
    await scene.host_sees("host reads a page that was unshared", page, CIPHERTEXT, OPAQUE)
    private = Generation.PRIVATE
    await scene.guest_sees("guest reads it back", page, private.words, private)
