"""A row for each cell of the table of events by GFN states (`event_table`)."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from pef_lab.rows.hypervisor import deeds
from pef_lab.rows.hypervisor.deeds import BAD, GFN, GOOD, Deed
from pef_lab.rows.hypervisor.event_table import (
    EVENTS,
    IN,
    NO_MATTER,
    NONE,
    Cell,
    Event,
    N,
    S,
    page_in_without_room,
)
from pef_lab.rows.hypervisor.one_vm import OneVm, row_in_vm
from pef_lab.rows.hypervisor.outside import Outside
from pef_lab.rows.hypervisor.seen import SEALED, gfn_seen, paging_since, pool_used
from pef_lab.rows.hypervisor.vms import ONE_PAGE, Life, VmPlan
from pef_lab.rows.row import Finding, Kind, Row
from pef_protocol.designs import Design

BESIDE: Final = (replace(ONE_PAGE[0], first=32),)
"""A slot that leaves GFN 0 in none."""
LEFT_OVER: Final = "init-done:tracked-pagein"
"""The one cell in which that design differs: a left-over GFN is brought by UV_PAGE_IN."""


def rows() -> Iterator[Row]:
    """Yield a row for each cell, in a transient VM and, where there is such a GFN, in a secure one."""
    for name, event in EVENTS.items():
        for letter, cell in event.cells.items():
            for life in event.lives:
                if life is Life.SECURE and letter is N:
                    continue  # H_SVM_INIT_DONE leaves no GFN normal
                way = "" if life is Life.TRANSIENT else ":secure"
                clause = f"{letter} GFN of a {life} VM, {name}"
                plan = VmPlan(life, slots=ONE_PAGE, gfns={GFN: letter})
                yield _cell_row(f"event/{letter.name}/{name}{way}", event, cell, plan, clause)
    pagein = Event("H_SVM_INIT_DONE", deeds.init_done, {})
    plan = VmPlan(Life.TRANSIENT, design=Design.TRACKED_PAGEIN, slots=ONE_PAGE, gfns={GFN: N})
    clause = "tracked-pagein brings a left-over GFN by UV_PAGE_IN"
    yield _cell_row(f"event/N/{LEFT_OVER}", pagein, Cell(GOOD, S, IN, 1, SEALED), plan, clause)
    yield from _outside_all_slots()


def _cell_row(place: str, event: Event, cell: Cell, plan: VmPlan, clause: str) -> Row:
    return row_in_vm(place, Kind.CELL, event.call, clause, plan, _act(event, cell))


def _act(event: Event, cell: Cell) -> Callable[[OneVm], Awaitable[Finding]]:
    async def act(scene: OneVm) -> Finding:
        return await happens(scene.outside, scene.lpid, event, cell)

    return act


async def happens(outside: Outside, lpid: int, event: Event, cell: Cell) -> Finding:
    """Let an event happen to GFN 0 of a VM; compare what is seen with the cell."""
    used, number = await pool_used(outside), outside.number
    code = await event.deed(outside, lpid)
    sent = paging_since(outside, number, lpid, accepted=event.accepted)
    after = await pool_used(outside)
    pool = after - used if after is not None and used is not None else cell.pool
    then, host = await gfn_seen(outside, lpid, GFN)
    seen = Cell(code, then, sent, pool, host if cell.host else NO_MATTER)
    visible = used is not None
    return Finding(cell.told(pool=visible), seen.told(pool=visible), seen == cell)


NOWHERE: Final[Mapping[str, tuple[str, Deed, str]]] = {
    "page-in": ("H_SVM_PAGE_IN", deeds.page_in, BAD),
    "page-in-without-room": ("H_SVM_PAGE_IN", page_in_without_room, BAD),
    "share": ("H_SVM_PAGE_IN", deeds.share, BAD),
    "page-out": ("H_SVM_PAGE_OUT", deeds.page_out, BAD),
    "host-read": ("VMM", deeds.host_read, "EFAULT"),
    "host-write": ("VMM", deeds.host_write, "EFAULT"),
}
"""Events on a GFN in no slot: they are refused, and nothing is sent."""


async def _plug(outside: Outside, lpid: int) -> str:
    return await outside.plug(lpid, 9, GFN, 1)


def _outside_all_slots() -> Iterator[Row]:
    """Yield the rows of the column `no slot`: events there, and a slot that is added."""
    for name, (call, deed, code) in NOWHERE.items():
        plan = VmPlan(Life.TRANSIENT, slots=BESIDE, gfns={})
        clause = f"a GFN in no slot, {name}"
        yield _cell_row(f"event/none/{name}", Event(call, deed, {}), Cell(code, NONE), plan, clause)
    for life in (Life.TRANSIENT, Life.SECURE):
        plan = VmPlan(life, slots=BESIDE, gfns={})
        clause = f"a slot added to a {life} VM is secure at once, with no UV_PAGE_IN"
        cell = Cell("OK", S, (), 1, SEALED)
        yield _cell_row(f"event/none/slot-added:{life}", Event("VMM", _plug, {}), cell, plan, clause)
