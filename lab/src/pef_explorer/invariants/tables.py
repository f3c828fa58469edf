"""What must hold of the tables of both sides: states, marks, slots and counts."""

from collections.abc import Iterator

from pef_explorer.actions.action import PRIVATE
from pef_explorer.actions.oracle import ZERO
from pef_explorer.invariants.observed import gfns, rest_after, state
from pef_explorer.invariants.transition_tables import VM_STEPS
from pef_explorer.machines.small_memory import TOKEN_BYTES
from pef_explorer.world.observation import ABSENT
from pef_explorer.world.step import Step
from pef_lab import at_rest
from pef_lab.agreement import SHARED_STATES
from pef_protocol.states import HvVmState, UvVmState
from pef_protocol.states import UvGfnState as S


def the_tables_agree(step: Step) -> Iterator[str]:
    """6. S with resident, P with paged out, H with a shared state, N with no SVM object."""
    if step.quiescent and not step.world.faulty:
        yield from at_rest.the_tables_agree(rest_after(step))


def nothing_is_left_behind(step: Step) -> Iterator[str]:
    """9. Without an SVM both pools are empty, and no normal page backs a GFN."""
    seen = step.after
    if not step.quiescent or seen.uv_vm is not None or seen.hv_vm[0] != HvVmState.NORMAL:
        return
    if any(seen.pool[:3]) or seen.reserved or any(seen.mapped) or any(seen.registered):
        yield f"no SVM, but device pages {seen.pool[:3]}, promised {seen.reserved}, slots {seen.registered}"
    if any(page[TOKEN_BYTES:] != ZERO for page in seen.normal):
        yield "no SVM, but a normal page holds encrypted bytes"


def no_gfn_stays_in_between(step: Step) -> Iterator[str]:
    """10. No GFN is transient or in flight while no call is open."""
    if step.quiescent:
        yield from at_rest.no_gfn_stays_in_between(rest_after(step))


def the_vm_lives_by_its_table(step: Step) -> Iterator[str]:
    """11. A VM goes from state to state as the life-cycle tables say, on both sides."""
    was, now = step.before.hv_vm[0], step.after.hv_vm[0]
    if was != now and (HvVmState(was), HvVmState(now)) not in VM_STEPS:
        yield f"the VM went from {HvVmState(was).name} to {HvVmState(now).name}"
    if step.quiescent and not step.world.faulty:
        yield from at_rest.the_vm_lives_by_its_table(rest_after(step))


def a_gfn_lives_by_its_table(step: Step) -> Iterator[str]:
    """12. A GFN of a secure VM becomes shared only by way of an offer, and private only by way of a grant."""
    if step.before.uv_vm is None or step.after.uv_vm is None:
        return
    for gfn in gfns(step):
        was, now = state(step.before.uv, gfn), state(step.after.uv, gfn)
        if was == now or was is None or now is None:
            continue
        if now in SHARED_STATES and was in PRIVATE:
            yield f"GFN {gfn} went from {was.name} to {now.name} at once"
        if now is S.PAGEDOUT and was is not S.SECURE:
            yield f"GFN {gfn} went from {was.name} to {now.name}"


def both_sides_have_the_same_slots(step: Step) -> Iterator[str]:
    """17. A slot that the Ultravisor has is registered; all of a started VM, none after a failed start.

    One with a page that a UV_ESM under way has asked for stays: it is what is measured.
    """
    if all(seen.uv_vm and seen.uv_vm[0] == UvVmState.ACTIVE for seen in (step.before, step.after)):
        for gfn in step.world.imported:
            if step.before.uv[gfn] != ABSENT and step.after.uv[gfn] == ABSENT:
                yield f"UV_ESM has asked for GFN {gfn}, and the Ultravisor let its slot go"
    seen, world, suspended = step.after, step.world, step.world.suspended
    if not step.quiescent or world.in_doubt or seen.uv_vm is None:
        return
    vm = world.system.vm
    if vm is None:
        return
    undone = suspended is not None and suspended.place == 0 and suspended.failure is not None
    for slot in vm.slots:
        uv_state = seen.uv[slot.first] != ABSENT
        if uv_state and (undone or not (slot.registered or world.faulty)):
            yield f"the Ultravisor has slot {slot.slot_id}, which the Hypervisor does not call registered"
        if vm.started and not (slot.registered and uv_state) and not world.faulty:
            yield f"the VM is started, and slot {slot.slot_id} is not known to both sides"
