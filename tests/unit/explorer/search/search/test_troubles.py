"""What the wire does, and sides that die: no invariant falls. Without a rule of the fence one does.

Broken rules are looked for by what they do to the VM: that a message acted twice is not told.
"""

from typing import Final

import pytest

from harness.broken_rules import break_rule
from pef_explorer.plan import NO_TROUBLES, Part, Plan, Troubles
from pef_explorer.search.search import Found, Search
from pef_protocol.designs import Design

HARM_ONLY: Final = frozenset({"a_message_acts_once"})


def searched(
    part: Part, calls: int, troubles: Troubles, limit: int = 0, ignored: frozenset[str] = frozenset()
) -> Found:
    """Search a VM of one GFN, to the end or until something falls or `limit` transitions are made."""
    looking = Search(Plan(Design.TRACKED, (part,), plug=0, calls=calls, troubles=troubles, ignored=ignored))
    looking.go_on(lambda progress: looking.nearest_violation is not None or 0 < limit <= progress.transitions)
    return looking.found()


MORE: Final = (
    Troubles(lost_answers=1),
    Troubles(late=2),
    Troubles(lost_answers=1, late=1),
    Troubles(deaths=2),
    Troubles(destroys=1),
    Troubles(late=1, deaths=1),
    Troubles(late=1, destroys=1),
)


@pytest.mark.parametrize(
    ("troubles", "states"),
    [
        (Troubles(lost_answers=2), 1_500),
        (Troubles(late=1), 2_000),
        (Troubles(deaths=1), 1_300),
        (Troubles(destroys=1), 400),
    ],
    ids=["two answers lost", "a message arrives again", "a side dies", "another VM has the lpid"],
)
def test_nothing_that_the_wire_does_breaks_an_invariant(troubles: Troubles, states: int) -> None:
    found = searched(Part.BROUGHT, 1, troubles)
    assert found.violations == ()
    assert found.complete
    assert found.states >= states


@pytest.mark.parametrize("part", Part)
def test_a_peer_that_refuses_one_message_breaks_no_invariant(part: Part) -> None:
    looking = Search(Plan(Design.TRACKED, (part,), plug=0, calls=1, faults=1))
    looking.go_on(lambda _: False)
    assert looking.found().violations == ()
    assert looking.found().complete


@pytest.mark.verify
@pytest.mark.parametrize("part", Part)
def test_two_vcpus_break_no_invariant(part: Part) -> None:
    looking = Search(Plan(Design.TRACKED, (part,), plug=0, vcpus=2))
    looking.go_on(lambda _: False)
    assert looking.found().violations == ()
    assert looking.found().complete


@pytest.mark.verify
@pytest.mark.parametrize("part", [Part.BROUGHT, Part.SHARED, Part.UNMIGRATED])
@pytest.mark.parametrize("troubles", MORE, ids=str)
def test_nothing_that_the_wire_does_beside_another_call_breaks_an_invariant(
    part: Part, troubles: Troubles
) -> None:
    found = searched(part, 1 if troubles.late else 2, troubles, 30_000)
    assert found.violations == ()


@pytest.mark.parametrize(
    ("rule", "troubles", "calls", "violations"),
    [
        ("the same number is done again", Troubles(lost_answers=1), 1, "both_sides_have_the_same_slots"),
        ("the same number is done again", Troubles(late=1), 1, "the_guest_finds_what_it_wrote"),
        ("a lower number is done", Troubles(late=1), 1, "the_guest_finds_what_it_wrote"),
        ("a lower number is done", Troubles(late=1, destroys=1), 1, "the_guest_finds_what_it_wrote"),
        ("the incarnation is not compared", NO_TROUBLES, 2, "what_is_asked_succeeds"),
        ("hello leaves the SVMs", Troubles(deaths=1), 1, "what_is_asked_succeeds"),
        ("one memory for all", Troubles(deaths=1), 1, "nothing_is_left_behind"),
        ("VMs stay what they are", Troubles(deaths=1), 1, "what_is_asked_succeeds"),
        ("nobody ends operations", Troubles(deaths=1), 1, "the_code_answers"),
        ("weak gate for destroy", Troubles(destroys=1), 2, "nothing_is_left_behind"),
    ],
)
def test_without_the_rule_an_invariant_falls(
    rule: str, troubles: Troubles, calls: int, violations: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_rule(rule, monkeypatch)
    found = searched(Part.BROUGHT, calls, troubles, 10_000, ignored=HARM_ONLY)
    assert violations in {violation.invariant for violation in found.violations}


def test_a_message_that_acts_again_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    break_rule("the same number is done again", monkeypatch)
    (violation,) = searched(Part.BROUGHT, 1, Troubles(late=1)).violations
    assert (violation.invariant, violation.sentence) == ("a_message_acts_once", "UV_SVM_TERMINATE acts twice")
