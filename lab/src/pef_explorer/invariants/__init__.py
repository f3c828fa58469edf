"""The joint invariants: a function for each, which compares both machines and asks neither for a verdict.

The first ten are those of the attack catalogue. The others are the life-cycle tables, the guest's memory, and
liveness. Each is a function of a step and yields a sentence for each violation.
"""

from collections.abc import Callable, Iterator
from typing import Final

from pef_explorer.invariants import calls, pages, tables
from pef_explorer.world.step import Step

INVARIANTS: Final[tuple[Callable[[Step], Iterator[str]], ...]] = (
    pages.no_plaintext_outside,
    pages.a_real_address_backs_one_gfn,
    pages.a_page_in_gives_back_the_page_out,
    pages.a_page_is_zero_when_its_owner_changes,
    calls.an_error_changes_neither_side,
    tables.the_tables_agree,
    calls.an_aborted_svm_never_runs,
    calls.no_iv_comes_twice,
    tables.nothing_is_left_behind,
    tables.no_gfn_stays_in_between,
    tables.the_vm_lives_by_its_table,
    tables.a_gfn_lives_by_its_table,
    pages.the_guest_finds_what_it_wrote,
    pages.nothing_maps_a_page_taken_away,
    calls.what_is_asked_succeeds,
    pages.a_spoiled_page_is_not_taken,
    tables.both_sides_have_the_same_slots,
    calls.what_was_promised_is_so,
    calls.a_message_acts_once,
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
