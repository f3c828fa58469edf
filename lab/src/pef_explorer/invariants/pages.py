"""What must hold of the bytes and the mappings of pages."""

from collections.abc import Iterator

from pef_explorer.actions.oracle import BLANK, ZERO
from pef_explorer.invariants.observed import gfns, state
from pef_explorer.invariants.transition_tables import (
    MAPPING,
)
from pef_explorer.machines.small_memory import TOKEN_BYTES
from pef_explorer.world.quiescence import peek
from pef_explorer.world.step import Step
from pef_lab.agreement import SHARED_STATES
from pef_protocol.states import UvGfnState as S


def no_plaintext_outside(step: Step) -> Iterator[str]:
    """1. What the guest stored into a page of its own is in nothing that the Hypervisor can read."""
    for place, page in enumerate(step.after.normal):
        if step.world.oracle.is_secret(page[:TOKEN_BYTES]) and page[TOKEN_BYTES:] == ZERO:
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
            now in SHARED_STATES
            and was not in SHARED_STATES
            and not not_begun
            and place
            and step.after.normal[place - 1] != BLANK
        ):
            yield f"GFN {gfn} became shared, and its page is not zero"
        granted = was in {S.HV_UNSHARED, S.HV_UNSHARING, S.HV_UNSHARING_INV, *SHARED_STATES}
        if now is S.SECURE and granted and not _taken_back(step) and step.after.frames[gfn] != BLANK:
            yield f"GFN {gfn} became private, and is not zero"


def _taken_back(step: Step) -> bool:
    """Tell whether the SVM is no more to be trusted: an aborted one keeps its bytes, out of reach."""
    return step.after.uv_vm is None or step.after.aborted or not step.world.oracle.secure


def the_guest_finds_what_it_wrote(step: Step) -> Iterator[str]:
    """13. The guest reads what was last written, or zero where the protocol zeroes."""
    ended = step.ended
    if ended is not None and ended.move.action == "load" and ended.word in {"other", "zero"}:
        may = step.world.oracle.may[ended.move.gfn]
        if ended.word == "other" or ZERO not in may:
            yield f"GFN {ended.move.gfn} reads as {ended.word}"
    if step.quiescent and (ended is None or ended.move.action != "load"):
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
        if runs and mapped and now in SHARED_STATES and step.world.oracle.absent[gfn]:
            yield f"GFN {gfn} is mapped to a page that the host has taken away"
        if mapped and now not in MAPPING:
            yield f"GFN {gfn} is mapped to a normal page and {now.name if now else 'in no slot'}"


def a_spoiled_page_is_not_taken(step: Step) -> Iterator[str]:
    """16. A page that the host wrote over while it was out never comes back as if it were genuine."""
    for gfn in gfns(step):
        came = state(step.before.uv, gfn) is S.PAGEDOUT and state(step.after.uv, gfn) is S.SECURE
        if came and step.world.oracle.tainted[gfn]:
            yield f"GFN {gfn} was written over while it was out, and came back"
