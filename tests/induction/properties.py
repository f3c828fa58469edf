"""What is proved of one GFN: the invariants of the explorer, as far as the model has what they speak of."""

from collections.abc import Iterator
from typing import Final

from induction.clause import Clause, clause
from induction.variables import ABSENT, NO, NONE, YES, others
from pef_lab.agreement import SHARED_STATES, TRANSIENT_STATES, agreeing_states
from pef_protocol.designs import DesignName
from pef_protocol.states import HvGfnState

AT_REST: Final = dict.fromkeys(
    ("uv_op", "hcall_at", "ucall", "ucall_at", "esm", "aborting", "resetting", "plugging", "slot"), NONE
)
"""No operation has the GFN, its slot or the whole VM in flight."""
SHARED: Final = tuple(sorted(state.name for state in SHARED_STATES))
MAPPED: Final = ("SHARED", "SHARED_IMPLICIT", "PSEUDO_SHARED", "HV_SHARED", "HV_UNSHARING")
"""The states in which a normal page may back the GFN."""
FOUND: Final = ({"page": ("GUEST", "HOST")}, {"page": "ZERO", "zero_ok": YES})
"""The guest finds its bytes, or zeroes that it may find, in the normal page."""
IN_FRAME: Final = ({"frame": "GUEST"}, {"frame": "ZERO", "zero_ok": YES})


def properties(name: DesignName) -> Iterator[Clause]:
    """Yield what is proved of a design."""
    secure = {"uv_vm": "SECURE", "hv_vm": "SECURE"}
    for state in HvGfnState:
        agreeing = tuple(sorted(each.name for each in agreeing_states(name)[state]))
        when = {**AT_REST, **secure, "here": YES, "hv": state.name}
        yield clause(f"the_tables_agree, {state.name}", when, *([{"uv": agreeing}] if agreeing else []))
    both = {**AT_REST, **secure}
    yield clause(
        "both_sides_have_the_same_slots",
        {**both, "here": YES},
        {"registered": YES, "uv": others("uv", ABSENT)},
    )
    yield clause("both_sides_have_the_same_slots", {**both, "here": NO}, {"uv": ABSENT})
    ended = {**AT_REST, "uv_vm": NONE, "hv_vm": "NORMAL"}
    plain = {"hv": "NORMAL", "registered": NO, "stand_in": NO, "sent": NO, "mapped": NO}
    yield clause("nothing_is_left_behind", ended, plain)
    transient = tuple(sorted(state.name for state in TRANSIENT_STATES))
    yield clause("no_gfn_stays_in_between", {**AT_REST, "uv": transient})
    yield clause("no_plaintext_outside", {"secret": YES, "page": "GUEST"})
    yield from _bytes()
    mapped = {"mapped": YES, "uv_vm": others("uv_vm", "ABORT")}
    yield clause("nothing_maps_a_page_taken_away", {**mapped, "uv": SHARED}, {"gone": NO})
    yield clause("nothing_maps_a_page_taken_away, by its state", {"mapped": YES}, {"uv": MAPPED})
    yield clause("what_is_asked_succeeds", {"hcall_at": "REFUSED", **secure}, {"page": "OTHER"})


def _bytes() -> Iterator[Clause]:
    name = "the_guest_finds_what_it_wrote"
    runs = {"uv_vm": "SECURE"}
    yield clause(f"{name}, in its frame", {**runs, "uv": "SECURE"}, *IN_FRAME)
    yield clause(f"{name}, shared", {**AT_REST, **runs, "uv": ("SHARED", "SHARED_INV")}, *FOUND)
    sealed = ({"page": "SEALED"}, {"page": "OTHER", "zero_ok": YES})
    yield clause(f"{name}, paged out", {**AT_REST, **runs, "uv": "PAGEDOUT"}, *sealed)
    normal = {"uv_vm": NONE, "esm": NONE, "hv_vm": "NORMAL", "here": YES}
    yield clause(f"{name}, in a normal VM", normal, *FOUND)
    hidden = ("PAGEDOUT", "SHARED", "SHARED_INV", "SHARED_IMPLICIT", "SHARED_IMPLICIT_INV")
    yield clause("a frame that is not in use is zero", {**AT_REST, "uv": hidden}, {"frame": "ZERO"})
