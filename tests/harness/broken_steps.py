"""A sound step of a small secure VM, and what must be changed in it for each invariant to fall, or not to.

Source: attacks.md (the ten), the life-cycle tables, and issue 3.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from pef_explorer.actions.move import GO_ON, GUESTS, VM, Move
from pef_explorer.actions.table import UV_ESM
from pef_explorer.machines.system import known_of
from pef_explorer.plan import Part, Plan
from pef_explorer.world.observation import ABSENT
from pef_explorer.world.records import Ending
from pef_explorer.world.step import Step, make
from pef_explorer.world.world import World
from pef_hypervisor.gfn.columns import BUSY as HV_BUSY
from pef_protocol.designs import Design
from pef_protocol.states import HvGfnState as H
from pef_protocol.states import HvVmState, UvVmState
from pef_protocol.states import UvGfnState as S
from pef_ultravisor.gfn.columns import HCALL_PENDING

SECRET_PAGE = b"g\x01\x01" + bytes(13)
SEALED_PAGE = bytes(range(16))

Change = Callable[[Step], Step]


def done(world: World, actor: str, action: str, gfn: int = VM) -> Step:
    """Make an action alone to its end; return its last step."""
    start = Move(actor, action, gfn)
    step = make(world, start)
    while step.ended is None:
        step = make(world, start if world.suspended else Move(actor, GO_ON))
    return step


def a_step(design: Design = Design.TRACKED) -> Step:
    """Return a quiet step of a secure VM: the guest has stored into GFN 0."""
    world = World(Plan(design, (Part.BROUGHT, Part.UNMIGRATED), plug=0))
    done(world, GUESTS[0], UV_ESM)
    world.put_back(world.saved())
    return done(world, GUESTS[0], "store", 0)


def seen(step: Step, **changes: Any) -> Step:
    """Return the step as if something else had been seen after it."""
    return replace(step, after=step.after._replace(**changes))


def seen_before(step: Step, **changes: Any) -> Step:
    return replace(step, before=step.before._replace(**changes))


def at(column: bytes | tuple[Any, ...], gfn: int, value: Any) -> Any:
    """Return a column with another value at `gfn`."""
    changed = [*column]
    changed[gfn] = value
    return bytes(changed) if isinstance(column, bytes) else tuple(changed)


def went(was: S, now: S, **changes: Any) -> Change:
    """Return a change by which GFN 0 went from one state of the Ultravisor to another."""

    def change(step: Step) -> Step:
        step = seen_before(step, uv=at(step.before.uv, 0, was))
        return seen(step, uv=at(step.after.uv, 0, now), **changes)

    return change


def ends(action: str, word: str, gfn: int = 0, *, alone: bool = True) -> Change:
    """Return a change by which an action ended."""
    return lambda step: replace(step, ended=Ending(Move(GUESTS[0], action, gfn), word, alone, ""))


def both(*changes: Change) -> Change:
    def change(step: Step) -> Step:
        for each in changes:
            step = each(step)
        return step

    return change


def of_the_vm(hv: HvVmState, uv: UvVmState | None, *, before: HvVmState | None = None) -> Change:
    """Return a change by which the VM stands as told on both sides."""

    def change(step: Step) -> Step:
        theirs = None if uv is None else (int(uv), False, True, 0)
        if before is not None:
            step = seen_before(step, hv_vm=(int(before), *step.before.hv_vm[1:]))
        return seen(step, hv_vm=(int(hv), *step.after.hv_vm[1:]), uv_vm=theirs)

    return change


aborted = of_the_vm(HvVmState.NORMAL, UvVmState.ABORT)


def in_the_machines(corrupt: Callable[[World], None]) -> Change:
    """Return a change of what the machines hold."""

    def change(step: Step) -> Step:
        corrupt(step.world)
        step.world._now = None
        return step

    return change


def other_bytes(world: World) -> None:
    assert world.system.svm is not None
    known_of(next(iter(world.system.svm.slots)))[0, 0] ^= 1


def a_state_lost(world: World) -> None:
    next(iter(world.system.hv.store.vms[1].slots)).state[1] = H.NORMAL


def a_slot_forgotten(world: World) -> None:
    next(iter(world.system.hv.store.vms[1].slots)).registered = False


def tainted(step: Step) -> Step:
    step.world.oracle.tainted[0] = True
    return step


def absent(step: Step) -> Step:
    step.world.oracle.absent[0] = True
    return step


def aborted_before(step: Step) -> Step:
    assert step.before.uv_vm is not None
    return seen_before(step, uv_vm=(int(UvVmState.ABORT), *step.before.uv_vm[1:]))


def failed(step: Step) -> Step:
    return replace(step, failed="H_SVM_PAGE_IN: H_PARAMETER")


def busy(step: Step) -> Step:
    return replace(step, quiescent=False)


@dataclass(frozen=True)
class Case:
    """An invariant, what breaks it, and what differs from that and does not."""

    breaking: tuple[Change, ...]
    spares: tuple[Change, ...] = ()


SHARED_AT_ONCE = went(S.SECURE, S.SHARED, mapped=(1, 0), normal=(SEALED_PAGE, bytes(16)))


CASES: dict[str, Case] = {
    "no_plaintext_outside": Case(
        (lambda step: seen(step, normal=at(step.after.normal, 1, SECRET_PAGE)),),
        (lambda step: seen(step, normal=at(step.after.normal, 1, b"g" + SEALED_PAGE[1:])),),
    ),
    "a_real_address_backs_one_gfn": Case(
        (lambda step: seen(step, mapped=(1, 1)),),
        (lambda step: seen(step, mapped=(1, 2)), lambda step: seen(step, mapped=(0, 0))),
    ),
    "a_page_in_gives_back_the_page_out": Case(
        (went(S.PAGEDOUT, S.SECURE, frames=(SECRET_PAGE[:1] + b"\x01\x03" + bytes(13), bytes(16))),),
        (went(S.PAGEDOUT, S.SECURE),),
    ),
    "a_page_is_zero_when_its_owner_changes": Case(
        (SHARED_AT_ONCE, went(S.HV_UNSHARED, S.SECURE), went(S.SHARED, S.SECURE)),
        (
            went(S.SECURE, S.SHARED, mapped=(1, 0)),
            went(S.HV_UNSHARED, S.SECURE, frames=(bytes(16), bytes(16))),
            both(went(S.SHARED, S.SECURE), of_the_vm(HvVmState.NORMAL, UvVmState.ABORT)),
        ),
    ),
    "an_error_changes_neither_side": Case(
        (both(in_the_machines(a_state_lost), ends("store", "refused")),),
        (
            ends("store", "refused"),
            both(in_the_machines(a_state_lost), ends("store", "refused", alone=False)),
            both(in_the_machines(a_state_lost), ends("store", "resolved")),
            both(in_the_machines(a_state_lost), ends(UV_ESM, "U_PERMISSION")),
        ),
    ),
    "the_tables_agree": Case(
        (
            lambda step: seen(step, hv=at(step.after.hv, 1, H.NORMAL)),
            lambda step: seen(step, hv=at(step.after.hv, 1, H.PAGED_OUT)),
            lambda step: seen(step, hv=at(step.after.hv, 1, H.SHARED)),
            lambda step: seen(step, uv=at(step.after.uv, 1, ABSENT)),
            lambda step: seen(step, hv=at(step.after.hv, 1, ABSENT)),
        ),
        (
            both(busy, lambda step: seen(step, hv=at(step.after.hv, 1, H.NORMAL))),
            lambda step: seen(step, hv=at(step.after.hv, 1, ABSENT), uv=at(step.after.uv, 1, ABSENT)),
        ),
    ),
    "an_aborted_svm_never_runs": Case(
        (aborted_before, both(aborted_before, ends("load", "zero"))),
        (both(aborted_before, ends("load", "refused")), both(aborted_before, ends("reboot", "OK", VM))),
    ),
    "no_iv_comes_twice": Case(
        (lambda step: seen_before(step, used=step.after.used + 1),),
        (lambda step: seen_before(step, used=step.after.used + 1, generation=0),),
    ),
    "nothing_is_left_behind": Case(
        (
            both(of_the_vm(HvVmState.NORMAL, None), lambda step: seen(step, registered=(False,))),
            both(of_the_vm(HvVmState.NORMAL, None), lambda step: seen(step, pool=(0, 0, 0, 0), reserved=1)),
            both(
                of_the_vm(HvVmState.NORMAL, None),
                lambda step: seen(
                    step, pool=(0, 0, 0, 0), registered=(False,), normal=(SEALED_PAGE, bytes(16))
                ),
            ),
        ),
        (
            both(
                of_the_vm(HvVmState.NORMAL, None),
                lambda step: seen(step, pool=(0, 0, 0, 0), registered=(False,)),
            ),
        ),
    ),
    "no_gfn_stays_in_between": Case(
        (
            lambda step: seen(step, uv=at(step.after.uv, 1, S.HV_SHARING)),
            lambda step: seen(step, hv_marks=at(step.after.hv_marks, 1, HV_BUSY)),
            lambda step: seen(step, uv_marks=at(step.after.uv_marks, 1, HCALL_PENDING)),
        ),
        (both(busy, lambda step: seen(step, uv=at(step.after.uv, 1, S.HV_SHARING))),),
    ),
    "the_vm_lives_by_its_table": Case(
        (
            of_the_vm(HvVmState.SECURE, UvVmState.SECURE, before=HvVmState.NORMAL),
            of_the_vm(HvVmState.NORMAL, UvVmState.SECURE),
            of_the_vm(HvVmState.SECURE, None),
        ),
        (
            of_the_vm(HvVmState.SECURE, UvVmState.SECURE, before=HvVmState.TRANSIENT),
            *(of_the_vm(HvVmState.NORMAL, None), aborted),
        ),
    ),
    "a_gfn_lives_by_its_table": Case(
        (went(S.SECURE, S.SHARED), went(S.PAGEDOUT, S.SHARED_IMPLICIT), went(S.SHARED, S.PAGEDOUT)),
        (went(S.SECURE, S.PAGEDOUT), went(S.HV_SHARING, S.SHARED), went(S.SHARED, S.SHARED_INV)),
    ),
    "the_guest_finds_what_it_wrote": Case(
        (ends("load", "other"), ends("load", "zero"), in_the_machines(other_bytes)),
        (ends("load", "as written"), both(busy, in_the_machines(other_bytes))),
    ),
    "nothing_maps_a_page_taken_away": Case(
        (
            both(absent, went(S.SHARED, S.SHARED, mapped=(1, 0))),
            lambda step: seen(step, mapped=(1, 0)),
            lambda step: seen(step, mapped=(0, 2), uv=at(step.after.uv, 1, ABSENT)),
        ),
        (
            went(S.SHARED, S.SHARED, mapped=(1, 0)),
            both(absent, went(S.SHARED, S.SHARED_INV)),
            both(absent, aborted, went(S.SHARED, S.SHARED, mapped=(1, 0))),
        ),
    ),
    "what_is_asked_succeeds": Case(
        (ends("store", "refused"), ends("reset", "EBUSY", VM), failed),
        (
            ends("store", "refused", alone=False),
            both(tainted, ends("store", "refused")),
            both(tainted, failed),
            both(aborted_before, ends("store", "refused")),
            both(went(S.SHARED_IMPLICIT, S.SHARED_IMPLICIT), ends("load", "refused")),
        ),
    ),
    "a_spoiled_page_is_not_taken": Case(
        (both(tainted, went(S.PAGEDOUT, S.SECURE)),), (both(tainted, went(S.PAGEDOUT, S.PAGEDOUT)),)
    ),
    "both_sides_have_the_same_slots": Case(
        (
            in_the_machines(a_slot_forgotten),
            lambda step: seen(step, uv=bytes([ABSENT, ABSENT])),
        ),
        (both(busy, in_the_machines(a_slot_forgotten)),),
    ),
    "what_was_promised_is_so": Case(
        (
            both(ends("unshare", "U_SUCCESS"), went(S.SHARED, S.SHARED)),
            both(ends("unshare all", "U_SUCCESS", VM), went(S.SHARED, S.SHARED_INV)),
        ),
        (
            both(ends("unshare", "U_SUCCESS", 1), went(S.SHARED, S.SHARED)),
            both(ends("unshare all", "U_SUCCESS", VM), went(S.SHARED_IMPLICIT, S.SHARED_IMPLICIT)),
            both(ends("unshare", "U_P3"), went(S.SHARED, S.SHARED)),
        ),
    ),
    "a_message_acts_once": Case(
        (in_the_machines(lambda world: setattr(world.system, "wrong", "it acts twice")),), ()
    ),
}
