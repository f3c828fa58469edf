"""A host whose secure memory is full: VMs that hold every device page, as long as a row needs it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from pef_lab.rows.hypervisor.outside import Outside, must
from pef_lab.rows.subject import NoScene
from pef_protocol.hypercalls import SvmInitDone, SvmInitStart
from pef_protocol.quantities import Lpid

LARGEST: Final = 1 << 24
"""Pages: a tebibyte of secure memory."""


@asynccontextmanager
async def no_room(outside: Outside) -> AsyncIterator[None]:
    """Have all device pages in use meanwhile, by VMs that are secure.

    H_SVM_INIT_DONE of a VM with more pages than there are is refused, and takes none: so VMs become secure
    that are half as large each time, until one of a single page does not.
    """
    pages, large = LARGEST, 0
    if outside.doors.can_be_observed:
        pool = (await outside.doors.view("vms"))["pool"]
        pages = int(pool["size"]) - int(pool["used"])
    made: list[int] = []
    try:
        while pages:
            lpid = await outside.create()
            made.append(lpid)
            if await _becomes_secure(outside, lpid, pages):
                large += pages
            else:
                await outside.destroy(made.pop())
                pages //= 2
            if large > LARGEST:
                raise NoScene(f"there are more than {LARGEST} device pages")
        yield
    finally:
        for lpid in made:
            await outside.destroy(lpid)


async def _becomes_secure(outside: Outside, lpid: int, pages: int) -> bool:
    if await outside.plug(lpid, 0, 0, pages) != "OK":
        return False
    outside.played.begin(lpid)
    must("H_SVM_INIT_START", (await outside.hypercall(SvmInitStart(Lpid(lpid)))).code, "H_SUCCESS")
    return (await outside.hypercall(SvmInitDone(Lpid(lpid)))).code == "H_SUCCESS"
