"""What becomes of a GFN at a Hypervisor, event by event and state by state.

A VM of one page is brought into the state; then the event happens. Seen from outside are the code, the state
after it, the paging ultracalls that it took, the change of device pages, and what the host then reads.

Source: specification of the Hypervisor, section 4; decisions, "UV_PAGE_INVAL", "H_SVM_INIT_ABORT",
"memory that changes worlds".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from pef_lab.rows.hypervisor import deeds
from pef_lab.rows.hypervisor.deeds import BAD, GFN, GOOD, Deed
from pef_lab.rows.hypervisor.no_room import no_room
from pef_lab.rows.hypervisor.outside import Outside
from pef_lab.rows.hypervisor.seen import AS_WRITTEN, SEALED, ZERO
from pef_lab.rows.hypervisor.vms import ONE_PAGE, Letter, Life
from pef_lab.rows.playing.ultravisor import refuse
from pef_protocol.codes import UCode

N, S, P, H, NONE = Letter.N, Letter.S, Letter.P, Letter.H, Letter.NONE
IN, OUT, INVAL = ("UV_PAGE_IN",), ("UV_PAGE_OUT",), ("UV_PAGE_INVAL",)
NO_MATTER: Final = ""
"""The documents do not say what the host reads."""


class Cell(NamedTuple):
    """What an event does: code, state after it, paging ultracalls, device pages, what the host then reads."""

    code: str
    then: str
    sent: tuple[str, ...] = ()
    pool: int = 0
    host: str = NO_MATTER

    def told(self, *, pool: bool) -> str:
        """Say it in one line; device pages only where they can be seen."""
        parts = [self.code, f"then {self.then}", f"sent {', '.join(self.sent) or 'nothing'}"]
        if pool:
            parts.append(f"{self.pool:+d} device pages")
        if self.host:
            parts.append(f"host reads {self.host}")
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class Event:
    """An event: the call that a row is filed under, what happens, and its cells."""

    call: str
    deed: Deed
    cells: Mapping[Letter, Cell]
    lives: tuple[Life, ...] = (Life.TRANSIENT, Life.SECURE)
    accepted: bool = False
    """Only ultracalls that were accepted are counted: to ask whether a page is out is no fault."""


async def page_in_without_room(outside: Outside, lpid: int) -> str:
    """Make H_SVM_PAGE_IN while all device pages are in use."""
    async with no_room(outside):
        return (await outside.page_in(lpid, GFN)).code


async def refused_page_out(outside: Outside, lpid: int) -> str:
    """Make H_SVM_PAGE_OUT, whose UV_PAGE_OUT is refused."""
    outside.played.answers("UV_PAGE_OUT", refuse(UCode.U_P2), lpid=lpid)
    return await deeds.page_out(outside, lpid)


async def host_is_refused(outside: Outside, lpid: int) -> str:
    """Have the host read the page while its UV_PAGE_OUT is refused."""
    outside.played.answers("UV_PAGE_OUT", refuse(UCode.U_P2), lpid=lpid)
    return await deeds.host_read(outside, lpid)


async def unplug(outside: Outside, lpid: int) -> str:
    """Remove the slot."""
    return await outside.unplug(lpid, ONE_PAGE[0].slotid)


TRANSIENT: Final = (Life.TRANSIENT,)
EVENTS: Final[Mapping[str, Event]] = {
    "page-in": Event(
        "H_SVM_PAGE_IN",
        deeds.page_in,
        {
            N: Cell(GOOD, S, IN, 1, SEALED),
            S: Cell(BAD, S, (), 0, SEALED),
            P: Cell(GOOD, S, IN, 1, SEALED),
            H: Cell(GOOD, S, IN, 1, SEALED),
        },
    ),
    "page-in-without-room": Event(
        "H_SVM_PAGE_IN",
        page_in_without_room,
        {
            N: Cell(BAD, N, (), 0, AS_WRITTEN),
            S: Cell(BAD, S, (), 0, SEALED),
            P: Cell(BAD, P, (), 0, SEALED),
            H: Cell(BAD, H),
        },
        TRANSIENT,
    ),
    "share": Event(
        "H_SVM_PAGE_IN",
        deeds.share,
        {
            N: Cell(GOOD, H, IN),
            S: Cell(GOOD, H, IN, -1, ZERO),
            P: Cell(GOOD, H, IN),
            H: Cell(GOOD, H, IN),
        },
    ),
    "page-out": Event(
        "H_SVM_PAGE_OUT",
        deeds.page_out,
        {
            N: Cell(GOOD, N, (), 0, AS_WRITTEN),
            S: Cell(GOOD, P, OUT, -1, SEALED),
            P: Cell(GOOD, P, (), 0, SEALED),
            H: Cell(GOOD, H),
        },
    ),
    "page-out-refused": Event("H_SVM_PAGE_OUT", refused_page_out, {S: Cell(BAD, S, OUT, 0, SEALED)}),
    "host-read": Event(
        "VMM",
        deeds.host_read,
        {
            N: Cell("OK", N, (), 0, AS_WRITTEN),
            S: Cell("OK", P, OUT, -1, SEALED),
            P: Cell("OK", P, (), 0, SEALED),
            H: Cell("OK", H),
        },
    ),
    "host-read-refused": Event("VMM", host_is_refused, {S: Cell("EIO", S, OUT, 0, SEALED)}),
    "host-write": Event(
        "VMM",
        deeds.host_write,
        {N: Cell("OK", N), S: Cell("OK", P, OUT, -1), P: Cell("OK", P), H: Cell("OK", H)},
    ),
    "unmap": Event(
        "VMM",
        deeds.unmap,
        {N: Cell("OK", N), S: Cell("OK", S), P: Cell("OK", P), H: Cell("OK", H, INVAL)},
    ),
    "init-done": Event(
        "H_SVM_INIT_DONE",
        deeds.init_done,
        {
            N: Cell(GOOD, S, (), 1, SEALED),
            S: Cell(GOOD, S, (), 0, SEALED),
            P: Cell(GOOD, P, (), 0, SEALED),
            H: Cell(GOOD, H),
        },
        TRANSIENT,
    ),
    "init-abort": Event(
        "H_SVM_INIT_ABORT",
        deeds.init_abort,
        {
            N: Cell(BAD, N, (), 0, AS_WRITTEN),
            S: Cell(BAD, N, OUT, -1, AS_WRITTEN),
            P: Cell(BAD, N, IN + OUT, 0, AS_WRITTEN),
            H: Cell(BAD, N),
        },
        TRANSIENT,
        accepted=True,
    ),
    "reset": Event(
        "VMM",
        deeds.reset,
        {
            N: Cell("OK", N, (), 0, AS_WRITTEN),
            S: Cell("OK", N, (), -1, ZERO),
            P: Cell("OK", N, (), 0, ZERO),
            H: Cell("OK", N),
        },
    ),
    "slot-removed": Event(
        "VMM",
        unplug,
        {
            N: Cell("OK", NONE),
            S: Cell("OK", NONE, (), -1),
            P: Cell("OK", NONE),
            H: Cell("OK", NONE),
        },
    ),
}
"""The law of section 4: events by states. What the host reads after it tells what became of the bytes."""
