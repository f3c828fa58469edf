"""What holds of a VM at rest: each invariant is seen broken, and nothing is said of what is sound."""

from dataclasses import replace

import pytest

from pef_lab.at_rest import AT_REST, VmAtRest, disagreements
from pef_protocol.designs import Design

TABLES = {
    0: ("SECURE", "SECURE"),
    1: ("PAGED_OUT", "PAGEDOUT"),
    2: ("SHARED", "SHARED_INV"),
    3: ("absent", ""),
}
SECURE = VmAtRest("SECURE", "SECURE", TABLES, Design.TRACKED)
NORMAL = VmAtRest("NORMAL", "no SVM", {0: ("NORMAL", "nothing")}, Design.TRACKED)


def broken(seen: VmAtRest) -> dict[str, list[str]]:
    """Return the sentences of each invariant that does not hold."""
    found = {invariant.__name__: [*invariant(seen)] for invariant in AT_REST}
    return {name: sentences for name, sentences in found.items() if sentences}


def with_gfn(own: str, other: str) -> VmAtRest:
    return replace(SECURE, tables={**TABLES, 0: (own, other)})


@pytest.mark.parametrize("seen", [SECURE, NORMAL, replace(SECURE, ultravisor="ABORT", hypervisor="NORMAL")])
def test_nothing_is_said_of_what_is_sound(seen: VmAtRest) -> None:
    assert broken(seen) == {}


@pytest.mark.parametrize(
    ("own", "other"),
    [
        ("NORMAL", "SECURE"),
        ("SECURE", "PAGEDOUT"),
        ("SHARED", "nothing"),
        ("NORMAL", ""),
        ("absent", "SECURE"),
    ],
)
def test_states_that_do_not_agree_are_said(own: str, other: str) -> None:
    sentence = f"GFN 0 is {own} to the Hypervisor, {other} to the Ultravisor"
    assert broken(with_gfn(own, other)) == {"the_tables_agree": [sentence]}


def test_to_a_hypervisor_of_two_states_all_is_normal_that_is_not_secure() -> None:
    seen = replace(SECURE, design=Design.BROKEN, tables={0: ("NORMAL", "PAGEDOUT"), 1: ("NORMAL", "SHARED")})
    assert broken(seen) == {}
    assert [*disagreements(replace(seen, design=Design.TRACKED))]


@pytest.mark.parametrize(("own", "other"), [("SECURE", "nothing"), ("NORMAL", "SECURE"), ("SHARED", "")])
def test_without_an_svm_object_only_normal_agrees(own: str, other: str) -> None:
    assert [*disagreements(NORMAL)] == []
    assert [*disagreements(replace(NORMAL, tables={0: (own, other)}))]


@pytest.mark.parametrize("states", [("SECURE", "no SVM"), ("TRANSIENT", "SECURE"), ("NORMAL", "SECURE")])
def test_a_vm_that_is_secure_to_one_side_is_said(states: tuple[str, str]) -> None:
    seen = VmAtRest(*states, {}, Design.TRACKED)
    sentence = f"the VM is {states[0]} to the Hypervisor, {states[1]} to the Ultravisor"
    assert broken(seen) == {"the_vm_lives_by_its_table": [sentence]}


def test_a_gfn_in_between_is_said() -> None:
    seen = VmAtRest(
        "TRANSIENT", "ACTIVE", {7: ("NORMAL", "HV_SHARING"), 8: ("NORMAL", "SECURE")}, Design.TRACKED
    )
    assert broken(replace(seen, in_flight=[8])) == {
        "no_gfn_stays_in_between": [
            "GFN 7 is HV_SHARING while no call is open",
            "GFN 8 is marked in flight while no call is open",
        ]
    }
