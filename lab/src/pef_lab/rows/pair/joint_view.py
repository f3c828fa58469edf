"""The two tables of one VM, as both sides show them, and the states in which a GFN may be outside any call.

Source: `pef_lab.agreement` (the states that agree); attacks, invariant 6.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from pef_lab.joint import NO_SVM, compare
from pef_lab.known_designs import known_designs
from pef_lab.rows.doors import Doors
from pef_lab.rows.stage import Stage
from pef_lab.watch import SlotStates
from pef_protocol.designs import Design
from pef_protocol.states import UvVmState

SVM_STATES: Final = frozenset(state.name for state in UvVmState)
AGREE: Final = "the tables agree"


class Joint(StrEnum):
    """What both sides say of a GFN: the Hypervisor's state, then the Ultravisor's."""

    NORMAL = f"NORMAL and {NO_SVM}"
    SECURE = "SECURE and SECURE"
    OUT = "PAGED_OUT and PAGEDOUT"
    SHARED = "SHARED and SHARED"
    WITHDRAWN = "SHARED and SHARED_INV"
    NOWHERE = "no slot and no slot"


def in_design(joint: Joint, design: Design) -> str:
    """Return what both sides say under `design`: one of two states says NORMAL of all that is not secure."""
    if not known_designs()[design].two_states:
        return joint
    return joint.replace("PAGED_OUT and", "NORMAL and").replace("SHARED and", "NORMAL and")


def can_be_seen(stage: Stage) -> bool:
    """Tell whether both sides show their tables."""
    return all(side.can_be_observed for side in stage.sides)


async def _ours(stage: Stage, lpid: int) -> tuple[SlotStates, ...]:
    """Return the Hypervisor's table of a VM."""
    return await _table(stage.hypervisor, lpid)


async def _theirs(stage: Stage, lpid: int) -> tuple[SlotStates, ...] | None:
    """Return the Ultravisor's table of a VM, or None where it has no SVM object for it."""
    listed = (await stage.ultravisor.view("vms"))["vms"]
    if not any(int(vm["lpid"]) == lpid and vm["state"] in SVM_STATES for vm in listed):
        return None
    return await _table(stage.ultravisor, lpid)


async def _table(side: Doors, lpid: int) -> tuple[SlotStates, ...]:
    return tuple(_slot(slot) for slot in (await side.view("gfns", lpid=lpid))["slots"])


def _slot(slot: Mapping[str, Any]) -> SlotStates:
    states = tuple((int(gfn), int(count), str(state)) for gfn, count, state in slot["states"])
    return SlotStates(slot["slotid"], slot["first"], slot["count"], states, int(slot.get("moving", 0)))


async def tables_of(stage: Stage, lpid: int, design: Design) -> str:
    """Say whether both tables of a VM agree, or where they don't."""
    ours, theirs = await _ours(stage, lpid), await _theirs(stage, lpid)
    comparison = compare(ours, theirs, design)
    return AGREE if comparison.agree else str(comparison)


async def joint_of(stage: Stage, lpid: int, gfn: int) -> str:
    """Return what both sides say of a GFN."""
    ours, theirs = await _ours(stage, lpid), await _theirs(stage, lpid)
    absent = NO_SVM if theirs is None else "no slot"
    return f"{_state(ours, gfn) or 'no slot'} and {_state(theirs or (), gfn) or absent}"


def _state(slots: tuple[SlotStates, ...], gfn: int) -> str:
    return next(
        (state for slot in slots for first, count, state in slot.states if first <= gfn < first + count),
        "",
    )
