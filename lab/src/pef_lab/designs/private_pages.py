"""Private pages: what the host reads of them, and what the guest reads back."""

from typing import Final

from pef_lab.designs.fixture import Fixture
from pef_lab.pages import OPAQUE, Generation
from pef_protocol.quantities import PAGE_SIZE

CIPHERTEXT: Final = "ciphertext: no text, no zeroes, not what was there before"


async def host_reads(fixture: Fixture) -> None:
    """See what the host reads of private pages that the SVM has written, and of its kernel."""
    plan = fixture.plan
    await fixture.tables_agree("after UV_ESM", anew=True)
    await fixture.guest_writes(Generation.PRIVATE, (*plan.touched, *plan.fresh))
    await fixture.host_sees("host reads private pages of every run", plan.sampled, CIPHERTEXT, OPAQUE)
    await fixture.host_sees("host reads private pages untouched before", plan.fresh, CIPHERTEXT, OPAQUE)
    page = await fixture.vmm.read(fixture.lpid, fixture.image.kernel_base, PAGE_SIZE)
    await fixture.did("host reads a page of the kernel")
    measured = fixture.image.kernel[:PAGE_SIZE]
    seen = "the kernel in clear" if page == measured else "other bytes" if any(page) else "zeroes"
    fixture.findings.see(
        "host reads a page of the kernel", "other bytes than the kernel's", seen, ok=seen == "other bytes"
    )
    await fixture.tables_agree("after the host has read")


async def guest_reads(fixture: Fixture) -> None:
    """See that the guest reads back all that it wrote, the pages that the host read included."""
    runs, private = (*fixture.plan.touched, *fixture.plan.fresh), Generation.PRIVATE
    await fixture.guest_sees("guest reads back its private pages", runs, private.words, private)
    await fixture.guest_sees_image("guest reads kernel, initrd, RTAS area and ESM blob again")
