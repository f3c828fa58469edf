"""The two tables of a VM, laid side by side."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pef_lab.joint import NO_SLOT, NO_SVM, JointRun, compare
from pef_lab.watch import SlotStates
from pef_protocol.designs import PUSHING, Design
from pef_protocol.states import HvGfnState, UvGfnState

HV = [state.name for state in HvGfnState]
UV = [state.name for state in UvGfnState]


def slot(*states: tuple[int, int, str], moving: int = 0) -> SlotStates:
    first = states[0][0]
    return SlotStates(0, first, sum(count for _, count, _ in states), states, moving)


def slot_of(states: list[str], first: int = 0) -> SlotStates:
    return slot(*((first + place, 1, state) for place, state in enumerate(states)))


@pytest.mark.parametrize(
    ("hypervisor", "ultravisor", "four", "two"),
    [
        ("SECURE", "SECURE", True, True),
        ("PAGED_OUT", "PAGEDOUT", True, False),
        ("NORMAL", "PAGEDOUT", False, True),
        ("SHARED", "SHARED_INV", True, False),
        ("SHARED", "PSEUDO_SHARED", True, False),
        ("NORMAL", "SHARED_IMPLICIT", False, True),
        ("NORMAL", "SECURE", False, False),
        ("SECURE", "PAGEDOUT", False, False),
        ("SECURE", "SHARED", False, False),
        ("SHARED", "HV_SHARED", False, False),
    ],
)
def test_which_words_agree_depends_on_how_many_states_the_design_keeps(
    hypervisor: str, ultravisor: str, *, four: bool, two: bool
) -> None:
    own, theirs = [slot((0, 4, hypervisor))], [slot((0, 4, ultravisor))]
    assert compare(own, theirs, Design.TRACKED).agree is four
    assert compare(own, theirs, Design.TRACKED_PAGEIN).agree is four
    assert compare(own, theirs, Design.EAGER).agree is two
    assert compare(own, theirs, Design.BROKEN).agree is two
    for design in PUSHING:
        assert compare(own, theirs, design).agree is two


def test_a_vm_without_svm_object_has_normal_pages_only() -> None:
    assert compare([slot((0, 8, "NORMAL"))], None, Design.TRACKED).agree
    left = compare([slot((0, 8, "NORMAL"), (8, 1, "SECURE"))], None, Design.TRACKED)
    assert left.disagreements == (JointRun(8, 1, "SECURE", NO_SVM),)


def test_a_slot_that_only_one_side_has_is_a_disagreement() -> None:
    found = compare(
        [slot((0, 4, "SECURE")), slot((8, 4, "SECURE"))], [slot((0, 4, "SECURE"))], Design.TRACKED
    )
    assert found.disagreements == (JointRun(8, 4, "SECURE", NO_SLOT),)
    found = compare([], [slot((0, 4, "SECURE"))], Design.TRACKED)
    assert found.disagreements == (JointRun(0, 4, NO_SLOT, "SECURE"),)


def test_a_gfn_in_flight_is_no_agreement() -> None:
    found = compare([slot((0, 4, "SECURE"), moving=2)], [slot((0, 4, "SECURE"))], Design.TRACKED)
    assert not found.agree
    assert "2 GFNs in flight" in str(found)


def test_a_disagreement_is_told_with_its_widest_run() -> None:
    found = compare(
        [slot((0, 2, "SECURE"), (2, 9, "NORMAL"))],
        [slot((0, 1, "PAGEDOUT"), (1, 10, "SECURE"))],
        Design.TRACKED,
    )
    assert str(found) == (
        "they disagree on 10 GFNs, such as 9 GFNs from 0x2: Hypervisor NORMAL, Ultravisor SECURE"
    )


@given(
    st.lists(st.sampled_from(HV), min_size=1, max_size=24),
    st.lists(st.sampled_from(UV), min_size=1, max_size=24),
    st.integers(0, 8),
)
def test_runs_say_of_each_gfn_what_both_tables_say(own: list[str], theirs: list[str], shift: int) -> None:
    found = compare([slot_of(own)], [slot_of(theirs, shift)], Design.TRACKED)
    reported = {
        gfn: (run.hypervisor, run.ultravisor)
        for run in found.runs
        for gfn in range(run.first, run.first + run.count)
    }
    first = dict(enumerate(own))
    second = dict(enumerate(theirs, shift))
    assert reported == {
        gfn: (first.get(gfn, NO_SLOT), second.get(gfn, NO_SLOT)) for gfn in first.keys() | second.keys()
    }
    pairs = [(run.hypervisor, run.ultravisor, run.first + run.count) for run in found.runs]
    following = [(run.hypervisor, run.ultravisor, run.first) for run in found.runs[1:]]
    assert not set(pairs) & set(following)
