"""Booting: into secure mode, out of it by a reboot, and into it again."""

import time
from dataclasses import dataclass
from typing import Final

from pef_lab.designs.plan import Run
from pef_lab.designs.private_pages import CIPHERTEXT
from pef_lab.designs.scene import Scene
from pef_lab.failures import Refusal
from pef_lab.pages import OPAQUE, ZERO, Generation
from pef_lab.watch import Counters
from pef_protocol.designs import PUSHING, Design
from pef_protocol.events import Side

CARRYING: Final = frozenset({Design.EAGER, Design.TRACKED_PAGEIN}) | PUSHING
"""Designs that move the contents of every page into the SVM; in the others what nobody asked for is zero."""
NO_SVM: Final = "no SVM object"


@dataclass(frozen=True, slots=True)
class Cost:
    """What one UV_ESM cost: seconds as its caller waited, messages, bytes that each side keeps for a GFN."""

    seconds: float
    counted: Counters
    bytes_per_gfn: dict[Side, float]


async def prepare(scene: Scene) -> None:
    """Load the image and have the guest, still a normal VM, write into its memory."""
    await scene.load_image()
    await scene.guest_writes(Generation.BEFORE_ESM, scene.plan.touched)
    await scene.remember_pools("before UV_ESM")


async def enter_secure_mode(scene: Scene) -> Cost:
    """Make UV_ESM and measure it; raise Refusal on any code but success."""
    before = await scene.watch.counters()
    start = time.perf_counter()
    reply = await scene.guest.enter_secure_mode(scene.image.kernel_base, scene.image.fdt_address)
    seconds = time.perf_counter() - start
    spent = (await scene.watch.counters()).since(before)
    await scene.did("the guest enters secure mode")
    if not reply.code.succeeded:
        raise Refusal("UV_ESM", reply.code.name, reply.detail)
    kept = {}
    for side in Side:
        record = (await scene.watch.vms(side))[0][scene.lpid]
        kept[side] = record.column_bytes / max(record.gfns, 1)
    return Cost(seconds, spent, kept)


async def first_boot(scene: Scene) -> None:
    """See what an SVM reads that has just entered secure mode: measured parts, own text, untouched pages."""
    await scene.guest_sees_image("guest reads kernel, initrd, RTAS area and ESM blob")
    carried = scene.design in CARRYING
    await scene.guest_sees(
        "guest reads the pages it wrote before UV_ESM",
        scene.plan.touched,
        "the text from before UV_ESM" if carried else "zero, for nobody asked for these pages",
        Generation.BEFORE_ESM if carried else ZERO,
    )
    await scene.guest_sees("guest reads pages that nobody touched", scene.plan.fresh, "zero", ZERO)


async def reboot(scene: Scene) -> None:
    """Reset the VM while some pages are paged out; the normal VM must find nothing of its past as an SVM."""
    plan = scene.plan
    await scene.host_touches("the host reads private pages, so that some are paged out", plan.sampled)
    await scene.vmm.reset(scene.lpid)
    scene.guest.rebooted()
    await scene.did("the VM is reset")
    await scene.guest_sees(
        "normal guest reads pages that were shared",
        (Run(gfn, 1) for gfn in sorted((plan.shared_after_out, plan.invalidated))),
        "zero, or what it wrote there in clear",
        ZERO,
        Generation.SHARED_BY_GUEST,
    )
    await scene.guest_sees(
        "normal guest reads pages that were private", (*plan.private, *plan.fresh), "zero", ZERO
    )
    record = (await scene.watch.vms(Side.ULTRAVISOR))[0].get(scene.lpid)
    none = record is None or record.state == "NORMAL"
    shown = NO_SVM if record is None or none else f"an SVM, {record.state}"
    scene.findings.see("what the Ultravisor holds of the VM", NO_SVM, shown, ok=none)
    await scene.tables_agree("after the reset", anew=True)
    await scene.pools_are_as("before UV_ESM", "after the reset")


async def second_esm(scene: Scene) -> None:
    """Boot and enter secure mode a second time."""
    sampled, private = scene.plan.sampled, Generation.SECOND_PRIVATE
    await scene.load_image()
    await scene.guest_writes(Generation.SECOND_BOOT, sampled)
    await enter_secure_mode(scene)
    await scene.guest_sees_image("guest reads kernel, initrd, RTAS area and ESM blob of its second boot")
    await scene.guest_writes(private, sampled)
    await scene.host_sees("host reads private pages of the second boot", sampled, CIPHERTEXT, OPAQUE)
    await scene.guest_sees("guest reads them back", sampled, private.words, private)
    await scene.tables_agree("after the second UV_ESM", anew=True)
    await scene.vmm.destroy(scene.lpid)
    await scene.did("the VM is destroyed")
    await scene.pools_are_as("before UV_ESM", "after the VM was destroyed")
