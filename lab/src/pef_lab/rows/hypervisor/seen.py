"""What can be seen of one VM from outside: states of a GFN and of the VM, device pages in use, bytes.

The observer's view tells states. Without it they are told from what later calls and reads do, so whoever
asks must have done with the VM.
"""

from typing import Final

from pef_lab.rows.hypervisor.outside import Outside, runs_of
from pef_lab.rows.hypervisor.vms import Letter, Life, page_of
from pef_lab.rows.playing.pages import BLANK
from pef_protocol.hypercalls import SvmInitDone, SvmPageOut
from pef_protocol.quantities import PAGE_ORDER, Lpid

AS_WRITTEN: Final = "as the host wrote it"
ZERO: Final = "zero"
SEALED: Final = "sealed"
OTHER: Final = "other bytes"
PAGING: Final = frozenset({"UV_PAGE_IN", "UV_PAGE_OUT", "UV_PAGE_INVAL"})


async def gfn_seen(outside: Outside, lpid: int, gfn: int) -> tuple[str, str]:
    """Return the state of a GFN at the Hypervisor, and then what kind of bytes the host reads of it."""
    if not outside.doors.can_be_observed:
        return await _seen_by_deeds(outside, lpid, gfn)
    letter = await _letter_in_view(outside, lpid, gfn)
    return letter, await host_sees(outside, lpid, gfn)


async def letter_of(outside: Outside, lpid: int, gfn: int) -> str:
    """Return the state of a GFN at the Hypervisor."""
    if outside.doors.can_be_observed:
        return await _letter_in_view(outside, lpid, gfn)
    return (await _seen_by_deeds(outside, lpid, gfn))[0]


async def _letter_in_view(outside: Outside, lpid: int, gfn: int) -> str:
    for slot in (await outside.doors.view("gfns", lpid=lpid))["slots"]:
        for first, pages, state in slot["states"]:
            if first <= gfn < first + pages:
                return str(state)
    return Letter.NONE


async def _seen_by_deeds(outside: Outside, lpid: int, gfn: int) -> tuple[str, str]:
    """Tell the states apart: what is unmapped or read as one makes the Hypervisor send something.

    A normal GFN and one that is paged out are told by H_SVM_INIT_DONE, which makes only the first secure.
    """
    number = outside.number
    await outside.unmap(lpid, gfn)
    kind = await host_sees(outside, lpid, gfn)
    sent = paging_since(outside, number, lpid)
    if sent:
        return (Letter.H if "UV_PAGE_INVAL" in sent else Letter.S), kind
    if kind not in {AS_WRITTEN, ZERO, SEALED, OTHER}:
        return Letter.NONE, kind
    if not await _started(outside, lpid):
        return Letter.N, kind
    await outside.hypercall(SvmInitDone(Lpid(lpid)))
    await outside.read(lpid, gfn)
    return (Letter.N if paging_since(outside, number, lpid) else Letter.P), kind


async def life_of(outside: Outside, lpid: int) -> str:
    """Return the state of a VM at the Hypervisor."""
    if outside.doors.can_be_observed:
        listed = (await outside.doors.view("vms"))["vms"]
        return next((str(vm["state"]).lower() for vm in listed if vm["lpid"] == lpid), "no VM")
    if await outside.load(lpid, 0) is not None:
        return Life.NORMAL
    if not await _started(outside, lpid):
        return "neither normal nor started"
    done = await outside.hypercall(SvmInitDone(Lpid(lpid)))
    return Life.TRANSIENT if done.code == "H_SUCCESS" else Life.SECURE


async def _started(outside: Outside, lpid: int) -> bool:
    """Tell whether a VM's H_SVM_INIT_START is done, by what a call with an unknown flag is refused for."""
    refused = await outside.hypercall(SvmPageOut(Lpid(lpid), runs_of(0), 1 << 63, PAGE_ORDER))
    return refused.code == "H_P2"


async def pool_used(outside: Outside) -> int | None:
    """Return how many device pages are in use; None where nobody may look."""
    if not outside.doors.can_be_observed:
        return None
    return int((await outside.doors.view("vms"))["pool"]["used"])


async def host_sees(outside: Outside, lpid: int, gfn: int) -> str:
    """Return what kind of bytes the host reads of a page, or the errno."""
    seen = await outside.read(lpid, gfn)
    return seen if isinstance(seen, str) else kind_of(outside, lpid, gfn, seen)


def kind_of(outside: Outside, lpid: int, gfn: int, content: bytes) -> str:
    """Tell the bytes of a page apart."""
    svm = outside.played.svm(lpid)
    kept = svm.pages.get(gfn) if svm is not None else None
    kinds = {page_of(lpid, gfn): AS_WRITTEN, BLANK: ZERO, (kept.sealed if kept else b""): SEALED}
    return kinds.get(content, OTHER)


def paging_since(outside: Outside, number: int, lpid: int, *, accepted: bool = False) -> tuple[str, ...]:
    """Return the names of the paging ultracalls about a VM; only those that were `accepted`, or all."""
    return tuple(
        heard.name
        for heard in outside.heard_since(number, lpid)
        if heard.name in PAGING and not (accepted and (heard.code is None or heard.code))
    )
