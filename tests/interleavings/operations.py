"""Every operation that there is, done to one of the VMs: the rows and columns of the matrix.

A step is one operation of a guest, a VMM, the host's memory management, or a Hypervisor that makes an
ultracall behind the honest one's back (`lies`). A column is one step or several, done as one.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from interleavings.machines import (
    IMAGE,
    PLUGGED_SHARED,
    SHARED,
    SPARE_PRIVATE,
    UNMAPPED,
    Machines,
)
from interleavings.written import ZERO, Place, Values, Written
from pef_explorer.actions.operations import Asked
from pef_explorer.actions.oracle import OPEN, SECRET
from pef_explorer.machines.pair import HYPERVISOR
from pef_hypervisor.outcome import Outcome
from pef_kit.core.effects import Operation
from pef_protocol.calls import Reply
from pef_protocol.events import Side
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, Lpid
from pef_protocol.runs import PlacedRuns
from pef_protocol.ultracalls import PageIn, PageOut
from pef_ultravisor.dispatch import ultracall

OPEN_PAGES: Final = frozenset({SHARED, UNMAPPED, SPARE_PRIVATE, PLUGGED_SHARED, IMAGE})
"""GFNs that a step may share: what a guest stores there is no secret."""


@dataclass(slots=True)
class Fixture:
    """The machines, and what was written to them."""

    machines: Machines
    written: Written = field(default_factory=Written)

    def tenant(self, lpid: int) -> int:
        """Return the tenant that VM `lpid` belongs to; 0: none."""
        return self.machines.tenants.get(lpid, 0)


@dataclass(frozen=True, slots=True)
class Begun:
    """An operation that is about to run; `values`: what it may leave in which pages.

    `sets`: where it succeeds, nothing older is left in these. `made`: what has to be noted at success.
    """

    operation: Operation[Any]
    values: Values = field(default_factory=dict)
    sets: bool = False
    made: Callable[[Outcome | Reply | None], None] = lambda outcome: None


Begin: TypeAlias = Callable[[Fixture, int], Begun]
Perform: TypeAlias = Callable[[Machines, Asked], Operation[Any]]


@dataclass(frozen=True, slots=True)
class Step:
    """One operation. `key`: its row of the matrix; `name` says what is special about it."""

    key: str
    name: str
    side: Side
    begin: Begin
    lies: bool = False


def _everywhere(fixture: Fixture, lpid: int, value: bytes = ZERO) -> dict[Place, bytes]:
    tenant = fixture.tenant(lpid)
    return {place: value for place in fixture.written.may if place[0] == tenant}


def _contents(
    fixture: Fixture, lpid: int, gfns: range, kind: bytes = b""
) -> tuple[bytes, dict[Place, bytes]]:
    """Return what is to be written to `gfns`, a page each, and the values by place."""
    tenant = fixture.tenant(lpid)
    values = {
        (tenant, gfn): fixture.written.new(kind or (OPEN if gfn in OPEN_PAGES else SECRET), tenant, gfn)
        for gfn in gfns
    }
    pages = [value.ljust(PAGE_SIZE, b"\0") for value in values.values()]
    last = pages.pop()[: len(ZERO)]
    return b"".join([*pages, last]), values


def reads(perform: Perform, first: int, count: int, *, secure: bool = False) -> Begin:
    """Return what leaves `count` pages as they are; `secure`: at the Ultravisor, where either side can."""

    def begin(fixture: Fixture, lpid: int) -> Begun:
        length = (count - 1 << PAGE_ORDER) + len(ZERO)
        return Begun(perform(fixture.machines, Asked(Lpid(lpid), first, 1, b"", length, secure)))

    return begin


def writes(
    perform: Perform, first: int, count: int, kind: bytes = b"", *, secure: bool = False, sets: bool = True
) -> Begin:
    """Return what writes to `count` pages a value of a kind, or of the one that fits the page."""

    def begin(fixture: Fixture, lpid: int) -> Begun:
        content, values = _contents(fixture, lpid, range(first, first + count), kind)
        asked = Asked(Lpid(lpid), first, content=content, secure=secure)
        return Begun(perform(fixture.machines, asked), values, sets)

    return begin


def kernel_call(name: str, request: object, zeroes: int | None = None, *, everywhere: bool = False) -> Begin:
    """Return a guest's ultracall; it zeroes one page where it succeeds, or may zero all."""

    def begin(fixture: Fixture, lpid: int) -> Begun:
        values = _everywhere(fixture, lpid) if everywhere else {}
        if zeroes is not None:
            values = {(fixture.tenant(lpid), zeroes): ZERO}
        machines = fixture.machines
        operation = ultracall(machines.uv, machines.kernel_of(lpid), name, request)
        return Begun(operation, values, sets=zeroes is not None)

    return begin


def create(fixture: Fixture, _: int) -> Begun:
    machines = fixture.machines

    def made(outcome: Outcome | Reply | None) -> None:
        if isinstance(outcome, Outcome):
            machines.new_tenant(outcome.outputs["lpid"])

    operation = machines.hv.create_vm(machines.design, secure_guest=True, radix=True)
    return Begun(operation, made=made)


def add_slot(slot_id: int, first: int, count: int) -> Begin:
    def begin(fixture: Fixture, lpid: int) -> Begun:
        tenant = fixture.tenant(lpid)

        def made(_: Outcome | Reply | None) -> None:
            fixture.written.fresh([(tenant, gfn) for gfn in range(first, first + count)])

        gpa, size = first << PAGE_ORDER, count << PAGE_ORDER
        return Begun(fixture.machines.hv.add_slot(lpid, slot_id, gpa, size), made=made)

    return begin


def remove_slot(slot_id: int, gfns: range) -> Begin:
    def begin(fixture: Fixture, lpid: int) -> Begun:
        tenant = fixture.tenant(lpid)

        def made(_: Outcome | Reply | None) -> None:
            fixture.written.gone(tenant, gfns)

        return Begun(fixture.machines.hv.remove_slot(lpid, slot_id), made=made)

    return begin


def reset(fixture: Fixture, lpid: int) -> Begun:
    return Begun(fixture.machines.hv.reset(lpid), _everywhere(fixture, lpid))


def destroy(fixture: Fixture, lpid: int) -> Begun:
    tenant = fixture.tenant(lpid)

    def made(_: Outcome | Reply | None) -> None:
        fixture.written.gone(tenant)
        if fixture.machines.tenants.get(lpid) == tenant:
            del fixture.machines.tenants[lpid]

    return Begun(fixture.machines.hv.destroy(lpid), made=made)


def lie(name: str, request: Callable[[Fixture, Lpid], object]) -> Begin:
    def begin(fixture: Fixture, lpid: int) -> Begun:
        return Begun(ultracall(fixture.machines.uv, HYPERVISOR, name, request(fixture, Lpid(lpid))))

    return begin


def _placed(fixture: Fixture, lpid: int, gfn: int, spare: int | None) -> PlacedRuns:
    machines = fixture.machines
    ra = machines.page_of(lpid, gfn) if spare is None else machines.spare[spare]
    return PlacedRuns.of((ra, gfn << PAGE_ORDER, 1))


def page_in(gfn: int, spare: int | None = None) -> Begin:
    return lie(
        "UV_PAGE_IN", lambda fixture, lpid: PageIn(lpid, _placed(fixture, lpid, gfn, spare), 0, PAGE_ORDER)
    )


def page_out(gfn: int, spare: int | None = None) -> Begin:
    return lie(
        "UV_PAGE_OUT", lambda fixture, lpid: PageOut(lpid, _placed(fixture, lpid, gfn, spare), 0, PAGE_ORDER)
    )
