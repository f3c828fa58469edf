"""Sharing: a resident page, a paged-out one and one that the host unmaps; and back again."""

from pef_lab.designs.fixture import Fixture
from pef_lab.designs.plan import Run
from pef_lab.designs.private_pages import CIPHERTEXT
from pef_lab.pages import OPAQUE, ZERO, Generation, text_of
from pef_protocol.quantities import gpa_of

BY_HOST = Generation.SHARED_BY_HOST
BY_GUEST = Generation.SHARED_BY_GUEST


async def share_unshare(fixture: Fixture) -> None:
    """Share three pages, speak both ways through each, and take the first one back."""
    plan = fixture.plan
    await _share_and_speak(fixture, plan.shared, "a page")
    await fixture.tables_agree("while a page is shared")
    await _withdraw(fixture, plan.shared)
    paged_out = [Run(plan.shared_after_out, 1)]
    await fixture.host_touches("the host reads a private page, which pages it out", paged_out)
    await _share_and_speak(fixture, plan.shared_after_out, "a paged-out page")
    await _share_and_speak(fixture, plan.invalidated, "another page")
    await fixture.vmm.unmap(fixture.lpid, gpa_of(plan.invalidated), 1)
    await fixture.did("the host unmaps a shared page")
    unmapped = [Run(plan.invalidated, 1)]
    await fixture.guest_sees("guest reads a shared page after an unmap", unmapped, BY_GUEST.words, BY_GUEST)
    await fixture.tables_agree("after sharing")


async def _share_and_speak(fixture: Fixture, gfn: int, which: str) -> None:
    """Share a private page: it must be zero, then carry text both ways. The guest writes last."""
    page = [Run(gfn, 1)]
    await fixture.guest.share(gfn)
    await fixture.did(f"the guest shares {which}")
    await fixture.guest_sees(f"guest reads {which} just shared", page, "zero", ZERO)
    await fixture.host_sees(f"host reads {which} just shared", page, "zero", ZERO)
    await fixture.vmm.write(fixture.lpid, gpa_of(gfn), text_of(BY_HOST, gfn, 1))
    await fixture.guest_sees(f"guest reads {which} that the host wrote", page, BY_HOST.words, BY_HOST)
    await fixture.guest_writes(BY_GUEST, page)
    await fixture.host_sees(f"host reads {which} that the guest wrote", page, BY_GUEST.words, BY_GUEST)


async def _withdraw(fixture: Fixture, gfn: int) -> None:
    """Unshare a page: it must be zero for the guest, and private again."""
    page = [Run(gfn, 1)]
    await fixture.guest.unshare(gfn)
    await fixture.did("the guest unshares a page")
    await fixture.guest_sees("guest reads a page just unshared", page, "zero", ZERO)
    await fixture.guest_writes(Generation.PRIVATE, page)
    await fixture.host_sees("host reads a page that was unshared", page, CIPHERTEXT, OPAQUE)
    private = Generation.PRIVATE
    await fixture.guest_sees("guest reads it back", page, private.words, private)
