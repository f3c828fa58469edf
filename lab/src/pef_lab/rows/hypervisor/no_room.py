"""A host whose secure memory is full: a VM that holds every device page, as long as a row needs it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from pef_lab.rows.hypervisor.outside import Outside, must
from pef_lab.rows.row import NoScene
from pef_protocol.hypercalls import SvmInitDone, SvmInitStart
from pef_protocol.quantities import Lpid

SMALLEST: Final = 1 << 13
LARGEST: Final = 1 << 24
"""Pages: from half a gibibyte to a tebibyte of secure memory."""


@asynccontextmanager
async def no_room(outside: Outside) -> AsyncIterator[None]:
    """Have all device pages in use meanwhile: by H_SVM_INIT_DONE of a VM with more pages than that."""
    pages = SMALLEST
    if outside.doors.can_be_observed:
        pool = (await outside.doors.view("vms"))["pool"]
        pages = int(pool["size"]) - int(pool["used"]) + 1
    while pages <= LARGEST:
        lpid = await outside.create()
        try:
            must("a large slot is added", await outside.plug(lpid, 0, 0, pages))
            outside.played.begin(lpid)
            must("H_SVM_INIT_START", (await outside.hypercall(SvmInitStart(Lpid(lpid)))).code, "H_SUCCESS")
            done = await outside.hypercall(SvmInitDone(Lpid(lpid)))
            if done.code == "H_STATE":
                yield
                return
            must("H_SVM_INIT_DONE", done.code, "H_SUCCESS")
        finally:
            await outside.destroy(lpid)
        pages *= 2
    raise NoScene(f"there are more than {LARGEST} device pages")
