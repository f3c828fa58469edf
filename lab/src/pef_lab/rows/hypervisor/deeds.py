"""What may happen to a VM, or to its GFN 0: each a deed that returns the code, or the errno, it came to."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from pef_lab.rows.hypervisor.outside import Outside
from pef_lab.rows.playing.ultravisor import PlayedUltravisor
from pef_protocol.hypercalls import SvmInitAbort, SvmInitDone, SvmInitStart
from pef_protocol.quantities import Lpid

GFN: Final = 0
RUNS, REFUSED = "runs", "its load is refused"
GOOD, BAD, STATE, BUSY = "H_SUCCESS", "H_PARAMETER", "H_STATE", "H_BUSY"

Deed: TypeAlias = Callable[[Outside, int], Awaitable[str]]
"""Does something to a VM, given by its lpid."""


async def page_in(outside: Outside, lpid: int) -> str:
    """Make H_SVM_PAGE_IN with flags 0."""
    return (await outside.page_in(lpid, GFN)).code


async def share(outside: Outside, lpid: int) -> str:
    """Make H_SVM_PAGE_IN with H_PAGE_IN_SHARED."""
    return (await outside.share(lpid, GFN)).code


async def page_out(outside: Outside, lpid: int) -> str:
    """Make H_SVM_PAGE_OUT."""
    return (await outside.page_out(lpid, GFN)).code


async def host_read(outside: Outside, lpid: int) -> str:
    """Have the host read the page."""
    seen = await outside.read(lpid, GFN)
    return seen if isinstance(seen, str) else "OK"


async def host_write(outside: Outside, lpid: int) -> str:
    """Have the host write to the page."""
    return await outside.write(lpid, GFN, b"host")


async def unmap(outside: Outside, lpid: int) -> str:
    """Have the host take the normal page away."""
    return await outside.unmap(lpid, GFN)


async def start_vm(outside: Outside, lpid: int) -> str:
    """Let the VM run as a normal one: it loads from its memory."""
    return REFUSED if await outside.load(lpid, GFN) is None else RUNS


async def init_start(outside: Outside, lpid: int) -> str:
    """Make H_SVM_INIT_START, for an SVM that an Ultravisor of ours has begun."""
    if isinstance(outside.stage.played, PlayedUltravisor):
        outside.stage.played.begin(lpid)
    return (await outside.hypercall(SvmInitStart(Lpid(lpid)))).code


async def init_done(outside: Outside, lpid: int) -> str:
    """Make H_SVM_INIT_DONE."""
    return (await outside.hypercall(SvmInitDone(Lpid(lpid)))).code


async def init_abort(outside: Outside, lpid: int) -> str:
    """Make H_SVM_INIT_ABORT; an Ultravisor of ours gives pages in clear from then on."""
    if isinstance(outside.stage.played, PlayedUltravisor):
        svm = outside.stage.played.svm(lpid)
        if svm is not None:
            svm.aborted = True
    return (await outside.hypercall(SvmInitAbort(Lpid(lpid)))).code


async def reset(outside: Outside, lpid: int) -> str:
    """Reset the VM, which ends its SVM."""
    return await outside.reset(lpid)
