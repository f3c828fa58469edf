"""Booting: into secure mode, out of it by a reboot, and into it again."""

import time
from dataclasses import dataclass
from typing import Final

from pef_lab.designs.fixture import Fixture
from pef_lab.designs.plan import Run
from pef_lab.designs.private_pages import CIPHERTEXT
from pef_lab.failures import Refusal
from pef_lab.known_designs import known_designs
from pef_lab.pages import OPAQUE, ZERO, Generation
from pef_lab.watch import Counters
from pef_protocol.events import Side

NO_SVM: Final = "no SVM object"


@dataclass(frozen=True, slots=True)
class Cost:
    """What one UV_ESM cost: seconds as its caller waited, messages, bytes that each side keeps for a GFN."""

    seconds: float
    counted: Counters
    bytes_per_gfn: dict[Side, float]


async def prepare(fixture: Fixture) -> None:
    """Load the image and have the guest, still a normal VM, write into its memory."""
    await fixture.load_image()
    await fixture.guest_writes(Generation.BEFORE_ESM, fixture.plan.touched)
    await fixture.remember_pools("before UV_ESM")


async def enter_secure_mode(fixture: Fixture) -> Cost:
    """Make UV_ESM and measure it; raise Refusal on any code but success."""
    before = await fixture.watch.counters()
    start = time.perf_counter()
    reply = await fixture.guest.enter_secure_mode(fixture.image.kernel_base, fixture.image.fdt_address)
    seconds = time.perf_counter() - start
    spent = (await fixture.watch.counters()).since(before)
    await fixture.did("the guest enters secure mode")
    if not reply.code.succeeded:
        raise Refusal("UV_ESM", reply.code.name, reply.detail)
    kept = {}
    for side in Side:
        record = (await fixture.watch.vms(side))[0][fixture.lpid]
        kept[side] = record.column_bytes / max(record.gfns, 1)
    return Cost(seconds, spent, kept)


async def first_boot(fixture: Fixture) -> None:
    """See what an SVM reads that has just entered secure mode: measured parts, own text, untouched pages."""
    await fixture.guest_sees_image("guest reads kernel, initrd, RTAS area and ESM blob")
    carried = known_designs()[fixture.design].moves_unmigrated
    await fixture.guest_sees(
        "guest reads the pages it wrote before UV_ESM",
        fixture.plan.touched,
        "the text from before UV_ESM" if carried else "zero, for nobody asked for these pages",
        Generation.BEFORE_ESM if carried else ZERO,
    )
    await fixture.guest_sees("guest reads pages that nobody touched", fixture.plan.fresh, "zero", ZERO)


async def reboot(fixture: Fixture) -> None:
    """Reset the VM while some pages are paged out; the normal VM must find nothing of its past as an SVM."""
    plan = fixture.plan
    await fixture.host_touches("the host reads private pages, so that some are paged out", plan.sampled)
    await fixture.vmm.reset(fixture.lpid)
    fixture.guest.rebooted()
    await fixture.did("the VM is reset")
    await fixture.guest_sees(
        "normal guest reads pages that were shared",
        (Run(gfn, 1) for gfn in sorted((plan.shared_after_out, plan.invalidated))),
        "zero, or what it wrote there in clear",
        ZERO,
        Generation.SHARED_BY_GUEST,
    )
    await fixture.guest_sees(
        "normal guest reads pages that were private", (*plan.private, *plan.fresh), "zero", ZERO
    )
    record = (await fixture.watch.vms(Side.ULTRAVISOR))[0].get(fixture.lpid)
    none = record is None or record.state == "NORMAL"
    shown = NO_SVM if record is None or none else f"an SVM, {record.state}"
    fixture.findings.see("what the Ultravisor holds of the VM", NO_SVM, shown, ok=none)
    await fixture.tables_agree("after the reset", anew=True)
    await fixture.pools_are_as("before UV_ESM", "after the reset")


async def second_esm(fixture: Fixture) -> None:
    """Boot and enter secure mode a second time."""
    sampled, private = fixture.plan.sampled, Generation.SECOND_PRIVATE
    await fixture.load_image()
    await fixture.guest_writes(Generation.SECOND_BOOT, sampled)
    await enter_secure_mode(fixture)
    await fixture.guest_sees_image("guest reads kernel, initrd, RTAS area and ESM blob of its second boot")
    await fixture.guest_writes(private, sampled)
    await fixture.host_sees("host reads private pages of the second boot", sampled, CIPHERTEXT, OPAQUE)
    await fixture.guest_sees("guest reads them back", sampled, private.words, private)
    await fixture.tables_agree("after the second UV_ESM", anew=True)
    await fixture.vmm.destroy(fixture.lpid)
    await fixture.did("the VM is destroyed")
    await fixture.pools_are_as("before UV_ESM", "after the VM was destroyed")
