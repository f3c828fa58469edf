"""What the wire does, and sides that die: no invariant falls. Without a rule of the fence one does.

The mutants are looked for by what they do to the VM: that a message acted twice is not told.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest

from pef_explorer import pair
from pef_explorer.plan import NO_TROUBLES, Part, Plan, Troubles
from pef_explorer.search import Found, Search
from pef_explorer.small_memory import HeapMemory
from pef_explorer.system import System
from pef_hypervisor.gate import Gate
from pef_hypervisor.machine import Hypervisor
from pef_kit.core.fence import Answer, Fence, Join, Kept, Message, Refuse, Run
from pef_kit.operations import Ask, Operation
from pef_protocol.calls import Reply
from pef_protocol.designs import Design
from pef_protocol.problems import ProblemType

HARM_ONLY: Final = frozenset({"a_message_acts_once"})
RECEIVE: Final = Fence.receive
HANDLER: Final = System.handler
NEW_MEMORY: Final = System.new_memory
Verdict = Run | Join | Answer | Refuse


def searched(
    part: Part, calls: int, troubles: Troubles, limit: int = 0, ignored: frozenset[str] = frozenset()
) -> Found:
    """Search a VM of one GFN, to the end or until something falls or `limit` transitions are made."""
    looking = Search(Plan(Design.TRACKED, (part,), plug=0, calls=calls, troubles=troubles, ignored=ignored))
    looking.go_on(lambda progress: looking.nearest_fall is not None or 0 < limit <= progress.transitions)
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
        (Troubles(deaths=1), 1_400),
        (Troubles(destroys=1), 400),
    ],
    ids=["two answers lost", "a message arrives again", "a side dies", "another VM has the lpid"],
)
def test_nothing_that_the_wire_does_breaks_an_invariant(troubles: Troubles, states: int) -> None:
    found = searched(Part.BROUGHT, 1, troubles)
    assert found.falls == ()
    assert found.complete
    assert found.states >= states


@pytest.mark.verify
@pytest.mark.parametrize("part", [Part.BROUGHT, Part.SHARED, Part.LEFT_OVER])
@pytest.mark.parametrize("troubles", MORE, ids=str)
def test_nothing_that_the_wire_does_beside_another_call_breaks_an_invariant(
    part: Part, troubles: Troubles
) -> None:
    found = searched(part, 1 if troubles.late else 2, troubles, 30_000)
    assert found.falls == ()


def _done_again(fence: Fence, message: Message) -> Verdict:
    verdict = RECEIVE(fence, message)
    return _run(fence) if isinstance(verdict, Answer) else verdict


def _done_late(fence: Fence, message: Message) -> Verdict:
    verdict = RECEIVE(fence, message)
    late = isinstance(verdict, Refuse) and verdict.kind is ProblemType.LATE
    return _run(fence) if late else verdict


def _run(fence: Fence) -> Run:
    return Run(Kept(0, b"", 0), fence.life)


def _anybodys(system: System, ask: Ask) -> Operation[Reply]:
    return HANDLER(system, replace(ask, incarnation=None))


def _nothing(*_: object) -> Operation[None]:
    yield from ()


def _one_memory(system: System) -> HeapMemory:
    """Empty the memory that the Hypervisor before had, and use that."""
    memory = getattr(system, "memory", None) or NEW_MEMORY(system)
    memory.known[:] = 0
    return memory


@dataclass(frozen=True, slots=True)
class Mutant:
    """A rule that is taken away, and the bound within which that is seen."""

    where: Any
    name: str
    fault: Callable[..., object]
    troubles: Troubles
    falls: str
    calls: int = 1


MUTANTS: Final = {
    "the same number is done again": Mutant(
        Fence, "receive", _done_again, Troubles(lost_answers=1), "both_sides_have_the_same_slots"
    ),
    "the same number is done again, late": Mutant(
        Fence, "receive", _done_again, Troubles(late=1), "the_guest_finds_what_it_wrote"
    ),
    "a lower number is done": Mutant(
        Fence, "receive", _done_late, Troubles(late=1), "what_is_asked_succeeds"
    ),
    "hello leaves the SVMs": Mutant(
        pair, "end_epoch", _nothing, Troubles(deaths=1), "what_is_asked_succeeds"
    ),
    "one memory for all": Mutant(
        System, "new_memory", _one_memory, Troubles(deaths=1), "nothing_is_left_behind"
    ),
    "VMs stay what they are": Mutant(
        Hypervisor, "fit_new_ultravisor", _nothing, Troubles(deaths=1), "what_is_asked_succeeds"
    ),
    "nobody ends operations": Mutant(
        Hypervisor, "end_operations", _nothing, Troubles(deaths=1), "nothing_is_left_behind"
    ),
    "a lower number is done, for another VM": Mutant(
        Fence, "receive", _done_late, Troubles(late=1, destroys=1), "what_is_asked_succeeds"
    ),
    "weak gate for destroy": Mutant(
        Gate, "ending", Gate.held, Troubles(destroys=1), "nothing_is_left_behind", calls=2
    ),
    "the incarnation is not compared": Mutant(
        System, "handler", _anybodys, NO_TROUBLES, "what_is_asked_succeeds", calls=2
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_without_the_rule_an_invariant_falls(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutant.where, mutant.name, mutant.fault)
    found = searched(Part.BROUGHT, mutant.calls, mutant.troubles, 10_000, ignored=HARM_ONLY)
    assert mutant.falls in {fall.invariant for fall in found.falls}


def test_a_message_that_acts_again_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fence, "receive", _done_again)
    (fall,) = searched(Part.BROUGHT, 1, Troubles(late=1)).falls
    assert (fall.invariant, fall.sentence) == ("a_message_acts_once", "UV_SVM_TERMINATE acts twice")
