"""Where every case begins: three VMs at rest, in each design, with enough secure memory or too little."""

from dataclasses import dataclass
from typing import Final

from interleavings.machines import (
    IMAGE,
    OUT,
    PAGES,
    PLUGGED,
    PLUGGED_SHARED,
    PRIVATE,
    SHARED,
    SPARE_PRIVATE,
    UNMAPPED,
    Machines,
    make_small,
)
from interleavings.operations import Begin, Begun, Fixture, Step, kernel_call, reads, writes
from interleavings.stack import Stack
from interleavings.steps import STEPS
from pef_explorer.actions.operations import host_read, store, unmap
from pef_explorer.actions.oracle import OPEN
from pef_explorer.actions.outcome import is_success
from pef_protocol.designs import Design
from pef_protocol.events import Side
from pef_protocol.quantities import Gfn
from pef_protocol.ultracalls import SharePage

UV, HV = Side.ULTRAVISOR, Side.HYPERVISOR
ROOMY: Final = 64
TIGHT: Final = 12
"""Pages of secure memory: more than all VMs have, or so few that one VM drives out pages of another."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A design, and the pages of secure memory."""

    design: Design
    secure_pages: int

    def __str__(self) -> str:
        return f"{self.design.value}, {'tight' if self.secure_pages == TIGHT else 'roomy'}"


def run(fixture: Fixture, step: Step, lpid: int) -> object:
    """Run a step to its end, alone, and note what it did; return its outcome."""
    begun = step.begin(fixture, lpid)
    stack = Stack(fixture.machines, step.key, step.side, lpid, begun.operation)
    fixture.written.begun(begun.values)
    while not stack.ended:
        stack.go_on()
    note(fixture, begun, stack.outcome, ())
    return stack.outcome


def note(fixture: Fixture, begun: Begun, outcome: object, others: tuple[Begun, ...]) -> None:
    """Note what a step did that has ended, while `others` were open."""
    if is_success(outcome):
        begun.made(outcome)  # type: ignore[arg-type]
        if begun.sets:
            fixture.written.done(begun.values, [each.values for each in others])


def must(fixture: Fixture, lpid: int, key: str, side: Side, begin: Begin) -> None:
    """Run what has to succeed."""
    outcome = run(fixture, Step(key, key, side, begin), lpid)
    if not is_success(outcome):
        message = f"{key} of VM {lpid}: {outcome}"
        raise AssertionError(message)


def share(gfn: int) -> Begin:
    """Return UV_SHARE_PAGE of one page."""
    return kernel_call("UV_SHARE_PAGE", SharePage(Gfn(gfn), 1), gfn)


def set_up(setting: Setting) -> Fixture:
    """Return the scene in which every case of a setting begins."""
    make_small()
    fixture = Fixture(Machines(setting.design, setting.secure_pages))
    for lpid in (1, 2, 3):
        must(fixture, lpid, "create", HV, STEPS["create"].begin)
        must(fixture, lpid, "add slot 0", HV, STEPS["add slot 0"].begin)
        must(fixture, lpid, "add slot 1", HV, STEPS["add slot 1"].begin)
        must(fixture, lpid, "store at HV", HV, writes(store, IMAGE, PAGES + 2, OPEN))
    for lpid in (1, 2):
        must(fixture, lpid, "UV_ESM", UV, STEPS["UV_ESM"].begin)
        for gfn in (SHARED, UNMAPPED, PLUGGED_SHARED):
            must(fixture, lpid, "share", UV, share(gfn))
        for gfn in (PRIVATE, SHARED, UNMAPPED, OUT, SPARE_PRIVATE, PLUGGED, PLUGGED_SHARED):
            must(fixture, lpid, "store", UV, writes(store, gfn, 1, secure=True))
        must(fixture, lpid, "unmap", HV, reads(unmap, UNMAPPED, 1))
        must(fixture, lpid, "host read", HV, reads(host_read, OUT, 1))
    return fixture
