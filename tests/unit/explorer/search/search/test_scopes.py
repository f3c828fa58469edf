"""What can happen to one GFN is searched once per condition, and done in every state of that condition."""

from pef_explorer.plan import Part, Plan
from pef_explorer.search.search import Search
from pef_protocol.designs import Design


def test_a_reset_takes_as_many_steps_whatever_the_other_slot_holds() -> None:
    """Given a page in each of two slots, when either went out, then a search of both comes to its end.

    The steps that lead a GFN to an end are made again in each state in which its own condition is the same.
    They can't be made there if an operation has more steps because of another slot: calls seem not to end.
    """
    search = Search(Plan(Design.PUSHED_VALID, (Part.BROUGHT,), calls=1))
    search.go_on(lambda _: False)
    assert not search
    assert {found.invariant for found in search.found().violations} == {"the_guest_finds_what_it_wrote"}
