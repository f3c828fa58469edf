"""The operations by which guests, VMM and host memory management act, for search and simulation alike.

Each returns the operation of a side on one VM of a pair of machines. `secure`: the guest runs under the
Ultravisor.
"""

from typing import Any

from pef_explorer.machines.pair import Pair
from pef_hypervisor.outcome import Errno, Outcome
from pef_kit.core.effects import Operation
from pef_protocol.calls import Reply
from pef_protocol.designs import DesignName
from pef_protocol.http import Caller, Role
from pef_protocol.quantities import PAGE_SIZE, Gfn, Lpid, gpa_of
from pef_protocol.ultracalls import SharePage, UnshareAllPages, UnsharePage
from pef_ultravisor.dispatch import guest_load, guest_store, ultracall


def load(machines: Pair[Any], lpid: Lpid, gfn: int, length: int, *, secure: bool) -> Operation[Any]:
    """Load `length` bytes from the start of a page."""
    if secure:
        return guest_load(machines.uv, lpid, gpa_of(gfn), length)
    return machines.hv.load(lpid, gpa_of(gfn), length)


def store(machines: Pair[Any], lpid: Lpid, gfn: int, content: bytes, *, secure: bool) -> Operation[Any]:
    """Store bytes at the start of a page."""
    if secure:
        return guest_store(machines.uv, lpid, gpa_of(gfn), content)
    return machines.hv.store_bytes(lpid, gpa_of(gfn), content)


def share(machines: Pair[Any], lpid: Lpid, gfn: int, pages: int = 1) -> Operation[Reply]:
    """Make UV_SHARE_PAGE."""
    return ultracall(machines.uv, Caller(Role.GUEST, lpid), "UV_SHARE_PAGE", SharePage(Gfn(gfn), pages))


def unshare(machines: Pair[Any], lpid: Lpid, gfn: int, pages: int = 1) -> Operation[Reply]:
    """Make UV_UNSHARE_PAGE."""
    return ultracall(machines.uv, Caller(Role.GUEST, lpid), "UV_UNSHARE_PAGE", UnsharePage(Gfn(gfn), pages))


def unshare_all(machines: Pair[Any], lpid: Lpid) -> Operation[Reply]:
    """Make UV_UNSHARE_ALL_PAGES."""
    return ultracall(machines.uv, Caller(Role.GUEST, lpid), "UV_UNSHARE_ALL_PAGES", UnshareAllPages())


def host_read(machines: Pair[Any], lpid: Lpid, gfn: int, length: int) -> Operation[Any]:
    """Read bytes for the VMM; pages that are in secure memory are paged out for it."""
    return machines.hv.host_read(lpid, gpa_of(gfn), length)


def host_write(machines: Pair[Any], lpid: Lpid, gfn: int, content: bytes) -> Operation[Any]:
    """Write bytes for the VMM at the start of a page."""
    return machines.hv.host_write(lpid, gpa_of(gfn), content)


def unmap(machines: Pair[Any], lpid: Lpid, gfn: int, pages: int = 1) -> Operation[Any]:
    """Take pages away from the guest."""
    return machines.hv.unmap(lpid, gpa_of(gfn), pages)


def plug(machines: Pair[Any], lpid: Lpid, gfns: range) -> Operation[Outcome]:
    """Add slot 1."""
    return machines.hv.add_slot(lpid, 1, gpa_of(gfns.start), len(gfns) * PAGE_SIZE)


def unplug(machines: Pair[Any], lpid: Lpid) -> Operation[Outcome]:
    """Remove slot 1."""
    return machines.hv.remove_slot(lpid, 1)


def create(machines: Pair[Any], design: DesignName, pages: int) -> Operation[Outcome]:
    """Create a VM, with slot 0 of so many pages."""
    made = yield from machines.hv.create_vm(design, secure_guest=True, radix=True)
    if made.errno is not Errno.OK:
        return made
    return (yield from machines.hv.add_slot(made.outputs["lpid"], 0, 0, pages * PAGE_SIZE))


def replace(machines: Pair[Any], lpid: Lpid, design: DesignName, pages: int) -> Operation[Outcome]:
    """Destroy a VM, and give its lpid to another one."""
    ended = yield from machines.hv.destroy(lpid)
    return ended if ended.errno is not Errno.OK else (yield from create(machines, design, pages))
