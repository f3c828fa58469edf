"""The judges of the scenarios, judged: each joint invariant notices what it is there for, and only that."""

from dataclasses import replace
from typing import Any

import pytest

from harness.joint_invariants import BLANK, TEN, Observation, Step, broken
from pef_lab.at_rest import VmAtRest
from pef_protocol.designs import Design
from pef_protocol.quantities import PAGE_SIZE

TEXT = b"text".ljust(PAGE_SIZE, b".")
SEALED = b"\x93" * PAGE_SIZE
STATES = {1: ("SECURE", "SECURE"), 2: ("PAGED_OUT", "PAGEDOUT"), 3: ("SHARED", "SHARED")}
SECURE = VmAtRest("SECURE", "SECURE", STATES, Design.TRACKED)
GOOD = Observation(
    vm=SECURE,
    moving=0,
    pools=(1, 1),
    digests=("a", "b"),
    guest={1: TEXT, 3: BLANK},
    host={2: SEALED, 3: BLANK},
)
EARLIER = replace(
    GOOD,
    vm=replace(SECURE, tables=dict.fromkeys((1, 2, 3), ("SECURE", "SECURE"))),
    digests=("c", "d"),
)
STEP = Step(EARLIER, GOOD, False, {1: TEXT, 2: TEXT}, frozenset(), {3: 1}, {}, (0, 0))


def after(**changes: Any) -> Step:
    return replace(STEP, after=replace(GOOD, **changes))


WRONG = {
    "no_plaintext_outside": replace(STEP, leaks=frozenset({"page 0x1 in normal memory"})),
    "a_real_address_backs_one_gfn": replace(STEP, copies={3: 2}),
    "a_page_in_gives_back_the_page_out": after(guest={1: SEALED, 3: BLANK}),
    "a_page_is_zero_when_its_owner_changes": after(host={2: SEALED, 3: TEXT}),
    "an_error_changes_neither_side": replace(STEP, refused=True),
    "the_tables_agree": after(vm=replace(SECURE, tables={**STATES, 1: ("NORMAL", "SECURE")})),
    "an_aborted_svm_never_runs": after(vm=replace(SECURE, ultravisor="ABORT")),
    "no_ciphertext_comes_twice": replace(STEP, sealed={SEALED: 2}),
    "nothing_is_left_behind": after(vm=VmAtRest("NORMAL", "NORMAL", {}, Design.TRACKED), guest={}, host={}),
    "no_gfn_stays_in_between": after(moving=2),
}


def test_a_good_step_breaks_nothing() -> None:
    assert broken(STEP) == []


def test_there_are_ten() -> None:
    assert [invariant.__name__ for invariant in TEN] == list(WRONG)


@pytest.mark.parametrize("name", WRONG)
def test_each_invariant_notices_what_it_is_there_for(name: str) -> None:
    assert {sentence.split(":")[0] for sentence in broken(WRONG[name])} == {name}


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("a_page_is_zero_when_its_owner_changes", after(guest={1: TEXT, 3: TEXT})),
        ("no_ciphertext_comes_twice", after(host={2: TEXT, 3: BLANK})),
        ("no_ciphertext_comes_twice", after(host={2: BLANK, 3: BLANK})),
    ],
)
def test_other_ways_to_break_one(name: str, step: Step) -> None:
    assert name in {sentence.split(":")[0] for sentence in broken(step)}


def test_a_page_that_stays_out_keeps_its_ciphertext() -> None:
    assert broken(replace(STEP, before=GOOD, sealed={SEALED: 2})) == []
