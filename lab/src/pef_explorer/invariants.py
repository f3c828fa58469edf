"""What must hold: one function an invariant, judged by looking at both machines, never by what they say.

The first ten are those of the attack catalogue; then life-cycle tables, the guest's memory, and liveness.
"""

from collections.abc import Callable, Iterator
from typing import Final

from pef_explorer.calls import ESM_FAILS, PRIVATE, UV_ESM, VM, succeeded
from pef_explorer.law import (
    ALIKE,
    ALIKE_OF_TWO,
    EXPLICIT,
    FOUR_STATES,
    MAPPING,
    OPEN,
    SHARED,
    STATES,
    VM_STEPS,
)
from pef_explorer.looks import ABSENT
from pef_explorer.oracle import BLANK, SECRET, ZERO
from pef_explorer.records import Step
from pef_explorer.small_memory import TOKEN_BYTES
from pef_explorer.stillness import peek
from pef_hypervisor.gfn.columns import BUSY as HV_MOVING
from pef_protocol.states import HvGfnState as H
from pef_protocol.states import HvVmState, UvVmState
from pef_protocol.states import UvGfnState as S
from pef_ultravisor.frames import IN_FLIGHT


def gfns(step: Step) -> range:
    """Return the GFNs of both slots."""
    return range(step.world.plan.pages)


def state(column: bytes, gfn: int) -> S | None:
    """Return the Ultravisor's state of a GFN in a column, or None."""
    return STATES[column[gfn]]


def no_plaintext_outside(step: Step) -> Iterator[str]:
    """1. What the guest stored into a page of its own is in nothing that the Hypervisor can read."""
    for place, page in enumerate(step.after.normal):
        if page[:1] == SECRET and page[TOKEN_BYTES:] == ZERO:
            yield f"normal page {place} holds what the guest stored in its own GFN {page[1] - 1}"


def a_real_address_backs_one_gfn(step: Step) -> Iterator[str]:
    """2. A real address backs at most one GFN at a time."""
    backing = [place for place in step.after.mapped if place]
    if len(backing) != len(set(backing)):
        yield "a normal page backs two GFNs"


def a_page_in_gives_back_the_page_out(step: Step) -> Iterator[str]:
    """3. A page-in gives back exactly what went out, or an error."""
    for gfn in gfns(step):
        came = state(step.before.uv, gfn) is S.PAGEDOUT and state(step.after.uv, gfn) is S.SECURE
        if came and step.after.frames[gfn][:TOKEN_BYTES] not in step.world.oracle.may[gfn]:
            yield f"GFN {gfn} came back as something that it did not hold"


def a_page_is_zero_when_its_owner_changes(step: Step) -> Iterator[str]:
    """4. A shared page is zero at each change of owner, both ways."""
    for gfn in gfns(step):
        was, now = state(step.before.uv, gfn), state(step.after.uv, gfn)
        if was == now or was is None or now is None:
            continue
        place = step.after.mapped[gfn]
        not_begun = was is S.HV_UNSHARING  # the Hypervisor was busy: the page is shared as before
        if (
            now in SHARED
            and was not in SHARED
            and not not_begun
            and place
            and step.after.normal[place - 1] != BLANK
        ):
            yield f"GFN {gfn} became shared, and its page is not zero"
        granted = was in {S.HV_UNSHARED, S.HV_UNSHARING, S.HV_UNSHARING_INV, *SHARED}
        if now is S.SECURE and granted and not _taken_back(step) and step.after.frames[gfn] != BLANK:
            yield f"GFN {gfn} became private, and is not zero"


def _taken_back(step: Step) -> bool:
    """Tell whether the SVM is no more to be trusted: an aborted one keeps its bytes, out of reach."""
    return step.after.uv_vm is None or step.after.aborted or not step.world.oracle.secure


def an_error_changes_neither_side(step: Step) -> Iterator[str]:
    """5. A call that is refused, and was alone, leaves both sides as they were."""
    ended = step.ended
    if ended is None or not step.quiet or not ended.alone or step.world.faulty or succeeded(ended.word):
        return
    if ended.move.does in {UV_ESM, ESM_FAILS}:
        return
    if step.world.changed():
        yield f"{ended.move.does} was refused ({ended.word}), and changed something"


def the_tables_agree(step: Step) -> Iterator[str]:
    """6. S with resident, P with paged out, H with a shared state, N with no SVM object."""
    seen = step.after
    if not step.quiet or step.world.faulty or seen.uv_vm is None or seen.uv_vm[0] != UvVmState.SECURE:
        return
    if seen.hv_vm[0] != HvVmState.SECURE:
        return
    alike = ALIKE if step.world.plan.design in FOUR_STATES else ALIKE_OF_TWO
    for gfn in gfns(step):
        ours, theirs = seen.hv[gfn], state(seen.uv, gfn)
        if ours == ABSENT and theirs is None:
            continue
        if ours == ABSENT or theirs not in alike[H(ours)]:
            told = "absent" if ours == ABSENT else H(ours).name
            other = "nothing" if theirs is None else theirs.name
            yield f"GFN {gfn} is {told} to the Hypervisor, {other} to the Ultravisor"


def an_aborted_svm_never_runs(step: Step) -> Iterator[str]:
    """7. No load or store of an aborted SVM resolves; a VM that never became secure is a normal one."""
    aborted, ended = step.before.aborted and step.world.oracle.secure, step.ended
    if aborted and ended is not None and ended.move.does in {"load", "store"} and ended.word != "refused":
        yield f"a {ended.move.does} of an aborted SVM resolved"


def no_iv_comes_twice(step: Step) -> Iterator[str]:
    """8. No (key, IV) pair is used twice."""
    same = step.after.generation == step.before.generation and step.after.uv_vm and step.before.uv_vm
    if same and step.after.used < step.before.used:
        yield "IVs that had been used are free again"


def nothing_is_left_behind(step: Step) -> Iterator[str]:
    """9. Without an SVM both pools are empty, and no normal page backs a GFN."""
    seen = step.after
    if not step.quiet or seen.uv_vm is not None or seen.hv_vm[0] != HvVmState.NORMAL:
        return
    if any(seen.pool[:3]) or seen.promised or any(seen.mapped) or any(seen.registered):
        yield f"no SVM, but device pages {seen.pool[:3]}, promised {seen.promised}, slots {seen.registered}"
    if any(page[TOKEN_BYTES:] != ZERO for page in seen.normal):
        yield "no SVM, but a normal page holds encrypted bytes"


def no_gfn_stays_in_between(step: Step) -> Iterator[str]:
    """10. No GFN is transient or in flight while no call is open."""
    if not step.quiet:
        return
    for gfn in gfns(step):
        theirs = state(step.after.uv, gfn)
        if theirs in OPEN:
            yield f"GFN {gfn} is {theirs.name} while no call is open"
        if step.after.hv_marks[gfn] & HV_MOVING or step.after.uv_marks[gfn] & IN_FLIGHT:
            yield f"GFN {gfn} is marked in flight while no call is open"


def the_vm_lives_by_its_table(step: Step) -> Iterator[str]:
    """11. A VM goes from state to state as the life-cycle tables say, on both sides."""
    was, now = step.before.hv_vm[0], step.after.hv_vm[0]
    if was != now and (HvVmState(was), HvVmState(now)) not in VM_STEPS:
        yield f"the VM went from {HvVmState(was).name} to {HvVmState(now).name}"
    seen = step.after
    if step.quiet and not step.world.faulty and not seen.aborted:
        secure = seen.uv_vm is not None and seen.uv_vm[0] == UvVmState.SECURE
        if secure != (now == HvVmState.SECURE):
            theirs = UvVmState(seen.uv_vm[0]).name if seen.uv_vm else "no SVM"
            yield f"the VM is {HvVmState(now).name} to the Hypervisor, {theirs} to the Ultravisor"


def a_gfn_lives_by_its_table(step: Step) -> Iterator[str]:
    """12. A GFN of a secure VM becomes shared only by way of an offer, and private only by way of a grant."""
    if step.before.uv_vm is None or step.after.uv_vm is None:
        return
    for gfn in gfns(step):
        was, now = state(step.before.uv, gfn), state(step.after.uv, gfn)
        if was == now or was is None or now is None:
            continue
        if now in SHARED and was in PRIVATE:
            yield f"GFN {gfn} went from {was.name} to {now.name} at once"
        if now is S.PAGEDOUT and was is not S.SECURE:
            yield f"GFN {gfn} went from {was.name} to {now.name}"


def the_guest_finds_what_it_wrote(step: Step) -> Iterator[str]:
    """13. The guest reads what was last written, or zero where the protocol zeroes."""
    ended = step.ended
    if ended is not None and ended.move.does == "load" and ended.word in {"other", "zero"}:
        may = step.world.oracle.may[ended.move.gfn]
        if ended.word == "other" or ZERO not in may:
            yield f"GFN {ended.move.gfn} reads as {ended.word}"
    if step.quiet and (ended is None or ended.move.does != "load"):
        for gfn in gfns(step):
            value = peek(step.world, gfn)
            if value is not None and value not in step.world.oracle.may[gfn]:
                found = "zero" if value == ZERO else "other bytes"
                yield f"GFN {gfn} holds {found}, not what was last written"


def nothing_maps_a_page_taken_away(step: Step) -> Iterator[str]:
    """14. From when the host has a page back, no access of the SVM reaches it; an aborted one makes none."""
    runs = not step.after.aborted
    for gfn in gfns(step):
        now, mapped = state(step.after.uv, gfn), step.after.mapped[gfn]
        if runs and mapped and now in SHARED and step.world.oracle.away[gfn]:
            yield f"GFN {gfn} is mapped to a page that the host has taken away"
        if mapped and now not in MAPPING:
            yield f"GFN {gfn} is mapped to a normal page and {now.name if now else 'in no slot'}"


def what_is_asked_succeeds(step: Step) -> Iterator[str]:
    """15. Liveness: alone, with a cooperating host, a call from a quiet state succeeds."""
    ended = step.ended
    if not step.quiet or step.world.faulty:
        return
    if step.failed and not any(step.world.oracle.spoiled):
        yield f"UV_ESM goes back: {step.failed}"
    if ended is None or not ended.alone or succeeded(ended.word):
        return
    if step.before.aborted or step.before.hv_vm[3]:
        return
    if not _may_be_refused(step, ended.move.does, ended.move.gfn):
        where = "" if ended.move.gfn == VM else f" of GFN {ended.move.gfn}"
        yield f"{ended.move.does}{where} ended {ended.word} {ended.detail}".rstrip()


def _may_be_refused(step: Step, does: str, gfn: int) -> bool:
    """Tell whether a refusal is what the protocol wants: a bad image, a page that the host has destroyed."""
    if does in {UV_ESM, ESM_FAILS}:
        return True
    oracle = step.world.oracle
    if does == "unshare all":
        return any(oracle.spoiled)
    if gfn == VM:
        return False
    kept = state(step.before.uv, gfn) in {S.SHARED_IMPLICIT, S.SHARED_IMPLICIT_INV}
    return oracle.spoiled[gfn] or (kept and does in {"load", "store", "unshare"})


def a_spoiled_page_is_not_taken(step: Step) -> Iterator[str]:
    """16. A page that the host wrote over while it was out never comes back as if it were genuine."""
    for gfn in gfns(step):
        came = state(step.before.uv, gfn) is S.PAGEDOUT and state(step.after.uv, gfn) is S.SECURE
        if came and step.world.oracle.spoiled[gfn]:
            yield f"GFN {gfn} was written over while it was out, and came back"


def both_sides_have_the_same_slots(step: Step) -> Iterator[str]:
    """17. A slot that the Ultravisor has is registered; all of a started VM, none after a failed start."""
    seen, world, parked = step.after, step.world, step.world.parked
    if not step.quiet or world.in_doubt or seen.uv_vm is None:
        return
    vm = world.system.vm
    if vm is None:
        return
    undone = parked is not None and parked.place == 0 and parked.failure is not None
    for slot in vm.slots:
        theirs = seen.uv[slot.first] != ABSENT
        if theirs and (undone or not (slot.registered or world.faulty)):
            yield f"the Ultravisor has slot {slot.slot_id}, which the Hypervisor does not call registered"
        if vm.started and not (slot.registered and theirs) and not world.faulty:
            yield f"the VM is started, and slot {slot.slot_id} is not known to both sides"


def what_was_promised_is_so(step: Step) -> Iterator[str]:
    """18. After an unshare that succeeded alone, of a GFN or of all, nothing of it is shared."""
    ended = step.ended
    if not (ended and ended.alone and ended.word == "U_SUCCESS" and step.after.uv_vm):
        return
    for gfn in gfns(step):
        meant = ended.move.does == "unshare all" or (ended.move.does == "unshare" and ended.move.gfn == gfn)
        if meant and state(step.after.uv, gfn) in EXPLICIT:
            yield f"{ended.move.does} succeeded, and GFN {gfn} is shared"


def a_message_acts_once(step: Step) -> Iterator[str]:
    """19. A message acts once or not at all, however often it arrives, and never in a later epoch."""
    if step.world.system.wrong:
        yield step.world.system.wrong


INVARIANTS: Final[tuple[Callable[[Step], Iterator[str]], ...]] = (
    no_plaintext_outside,
    a_real_address_backs_one_gfn,
    a_page_in_gives_back_the_page_out,
    a_page_is_zero_when_its_owner_changes,
    an_error_changes_neither_side,
    the_tables_agree,
    an_aborted_svm_never_runs,
    no_iv_comes_twice,
    nothing_is_left_behind,
    no_gfn_stays_in_between,
    the_vm_lives_by_its_table,
    a_gfn_lives_by_its_table,
    the_guest_finds_what_it_wrote,
    nothing_maps_a_page_taken_away,
    what_is_asked_succeeds,
    a_spoiled_page_is_not_taken,
    both_sides_have_the_same_slots,
    what_was_promised_is_so,
    a_message_acts_once,
)
EVERY_CALL_ENDS: Final = "every_call_ends"
"""20. Liveness: every open call can still end. It is judged over the whole graph."""


def broken(step: Step, ignored: frozenset[str]) -> list[tuple[str, str]]:
    """Return (invariant, sentence) for each thing that the step broke."""
    return [
        (each.__name__, sentence)
        for each in INVARIANTS
        if each.__name__ not in ignored
        for sentence in each(step)
    ]
