"""Sides that die, messages of the past, partitions: a run in which a rule against them is missing fails.

Each broken rule has a seed that finds it; sound code holds on the same seeds.
"""

from typing import Final

import pytest

from harness.broken_rules import break_rule
from pef_explorer.simulation.campaign import simulate_seed
from pef_explorer.simulation.events import Seed
from pef_protocol.designs import Design

STEPS: Final = 300
FOUND: Final = [
    ("the same number is done again", 3, "a_message_acts_once"),
    ("a lower number is done", 5, "a_message_acts_once"),
    ("the epoch is not compared", 73, "a_message_acts_once"),
    ("hello leaves the SVMs", 3, "what_is_asked_alone_succeeds"),
    ("one memory for all", 71, "a_page_in_gives_back_the_page_out"),
    ("VMs stay what they are", 1, "what_is_asked_alone_succeeds"),
    ("nobody ends operations", 37, "no_operation_crashes"),
    ("weak gate for destroy", 35, "every_call_ends"),
]
"""Which seed finds that a rule is broken, and what falls."""


def seed(number: int) -> Seed:
    return Seed(number, Design.TRACKED, STEPS)


@pytest.mark.parametrize(("rule", "number", "violations"), FOUND)
def test_without_the_rule_the_seed_fails(
    rule: str, number: int, violations: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_rule(rule, monkeypatch)
    failure = simulate_seed(seed(number)).failure
    assert failure is not None
    assert failure.invariant == violations


@pytest.mark.parametrize("number", sorted({number for _, number, _ in FOUND}))
def test_with_it_the_seed_holds(number: int) -> None:
    report = simulate_seed(seed(number))
    assert report.failure is None
    assert report.faults > 0
