"""Private pages: what the host reads of them, and what the guest reads back."""

from typing import Final

from pef_lab.designs.scene import Scene
from pef_lab.pages import OPAQUE, Generation
from pef_protocol.quantities import PAGE_SIZE

CIPHERTEXT: Final = "ciphertext: no text, no zeroes, not what was there before"


async def host_reads(scene: Scene) -> None:
    """See what the host reads of private pages that the SVM has written, and of its kernel."""
    plan = scene.plan
    await scene.tables_agree("after UV_ESM", anew=True)
    await scene.guest_writes(Generation.PRIVATE, (*plan.touched, *plan.fresh))
    await scene.host_sees("host reads private pages of every run", plan.sampled, CIPHERTEXT, OPAQUE)
    await scene.host_sees("host reads private pages untouched before", plan.fresh, CIPHERTEXT, OPAQUE)
    page = await scene.vmm.read(scene.lpid, scene.image.kernel_base, PAGE_SIZE)
    await scene.did("host reads a page of the kernel")
    measured = scene.image.kernel[:PAGE_SIZE]
    seen = "the kernel in clear" if page == measured else "other bytes" if any(page) else "zeroes"
    scene.findings.see(
        "host reads a page of the kernel", "other bytes than the kernel's", seen, ok=seen == "other bytes"
    )
    await scene.tables_agree("after the host has read")


async def guest_reads(scene: Scene) -> None:
    """See that the guest reads back all that it wrote, the pages that the host read included."""
    runs, private = (*scene.plan.touched, *scene.plan.fresh), Generation.PRIVATE
    await scene.guest_sees("guest reads back its private pages", runs, private.words, private)
    await scene.guest_sees_image("guest reads kernel, initrd, RTAS area and ESM blob again")
