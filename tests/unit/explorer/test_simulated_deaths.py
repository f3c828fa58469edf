"""Sides that die, messages of the past, partitions: a run in which a rule against them is missing fails.

Each mutant names a seed that finds it; sound code holds on the same seeds.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest

from pef_explorer import pair
from pef_explorer.simulation.campaign import simulate_seed
from pef_explorer.simulation.events import Seed
from pef_explorer.simulation.machines import Machines
from pef_explorer.small_memory import HeapMemory
from pef_hypervisor.gate import Gate
from pef_hypervisor.machine import Hypervisor
from pef_kit.core.fence import Answer, Fence, Join, Kept, Message, Refuse, Run
from pef_kit.operations import Operation
from pef_protocol.designs import Design
from pef_protocol.problems import ProblemType

STEPS: Final = 300
RECEIVE: Final = Fence.receive
NEW_MEMORY: Final = Machines.new_memory
Verdict = Run | Join | Answer | Refuse


def nothing(*_: object) -> Operation[None]:
    yield from ()


def done_again(fence: Fence, message: Message) -> Verdict:
    verdict = RECEIVE(fence, message)
    return Run(Kept(0, b"", 0), fence.life) if isinstance(verdict, Answer) else verdict


def done_late(fence: Fence, message: Message) -> Verdict:
    verdict = RECEIVE(fence, message)
    late = isinstance(verdict, Refuse) and verdict.kind is ProblemType.LATE
    return Run(Kept(0, b"", 0), fence.life) if late else verdict


def of_any_epoch(fence: Fence, message: Message) -> Verdict:
    return RECEIVE(fence, replace(message, epoch=fence.epoch))


def one_memory_for_all(machines: Machines) -> HeapMemory:
    """Empty the memory that the Hypervisor before had, and use that."""
    memory = getattr(machines, "memory", None) or NEW_MEMORY(machines)
    memory.known[:] = 0
    return memory


@dataclass(frozen=True, slots=True)
class Mutant:
    """A rule that is taken away, the seed that finds it, and what falls."""

    where: Any
    name: str
    fault: Callable[..., object]
    seed: int
    falls: str


MUTANTS: Final = {
    "the same number is done again": Mutant(Fence, "receive", done_again, 3, "a_message_acts_once"),
    "a lower number is done": Mutant(Fence, "receive", done_late, 5, "a_message_acts_once"),
    "the epoch is not compared": Mutant(Fence, "receive", of_any_epoch, 73, "a_message_acts_once"),
    "hello leaves the SVMs": Mutant(pair, "end_epoch", nothing, 3, "what_is_asked_alone_succeeds"),
    "one memory for all": Mutant(
        Machines, "new_memory", one_memory_for_all, 71, "a_page_in_gives_back_the_page_out"
    ),
    "VMs stay what they are": Mutant(
        Hypervisor, "fit_new_ultravisor", nothing, 1, "what_is_asked_alone_succeeds"
    ),
    "nobody ends operations": Mutant(
        Hypervisor, "end_operations", nothing, 37, "a_page_in_gives_back_the_page_out"
    ),
    "weak gate for destroy": Mutant(Gate, "ending", Gate.held, 35, "every_call_ends"),
}


def seed(number: int) -> Seed:
    return Seed(number, Design.TRACKED, STEPS)


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_without_the_rule_the_seed_fails(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutant.where, mutant.name, mutant.fault)
    failure = simulate_seed(seed(mutant.seed)).failure
    assert failure is not None
    assert failure.invariant == mutant.falls


@pytest.mark.parametrize("number", sorted({mutant.seed for mutant in MUTANTS.values()}))
def test_with_it_the_seed_holds(number: int) -> None:
    report = simulate_seed(seed(number))
    assert report.failure is None
    assert report.faults > 0
