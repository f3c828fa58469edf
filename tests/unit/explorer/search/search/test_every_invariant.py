"""Each invariant is reported by a search: for each a fault, and a system in which that comes out.

| fault | is |
|---|---|
| an id | a mutant of `pef_mutants` |
| a rule | a rule of the message layer that is taken away (`harness.broken_rules`) |
| a function | something else that one of the services does wrong, made here |
| none | what a peer without slots does, or a design |

`one_page_for_all` is searched as a failing wire is: GFNs that share a page are not independent of each other.
The same moves on sound code break nothing: that is seen wherever they can be made there.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pytest

from harness.broken_rules import break_rule
from pef_explorer.invariants import EVERY_CALL_ENDS, INVARIANTS
from pef_explorer.plan import Delivery, Extra, Part, Plan, Troubles
from pef_explorer.search.counterexample import comes_again
from pef_explorer.search.expansion import NO_ANSWER
from pef_explorer.search.search import Search, Violation
from pef_kit.core.checks import refuse
from pef_kit.core.effects import Operation
from pef_kit.core.runs import I64
from pef_kit.core.table import Cell
from pef_kit.runtime.bus import NORMAL_BASE
from pef_mutants.answers import nothing
from pef_mutants.blind_spots import SEARCHED
from pef_mutants.exchange import cells, everywhere, only_in
from pef_protocol.calls import Reply
from pef_protocol.check_orders import UNSHARE_PAGE
from pef_protocol.codes import UCode
from pef_protocol.designs import Design
from pef_protocol.http import Caller
from pef_protocol.quantities import Gpa
from pef_protocol.states import UvGfnState as S
from pef_protocol.ultracalls import UnsharePage
from pef_ultravisor import access
from pef_ultravisor.from_guest import share_page
from pef_ultravisor.from_guest.unshare_page import uv_unshare_page
from pef_ultravisor.from_hypervisor import page_in
from pef_ultravisor.gfn.columns import FrameSlot
from pef_ultravisor.gfn.table import GFN, Action, Event
from pef_ultravisor.state import Svm, Ultravisor
from pef_ultravisor.to_hypervisor import faults

MOST: Final = 60_000
"""Transitions of a search."""
ONE: Final = Plan(Design.TRACKED, (Part.BROUGHT,), plug=0, calls=1)
Fault = Callable[[], AbstractContextManager[None]]


@contextmanager
def one_page_for_all() -> Iterator[None]:
    """Map every shared GFN to the first page of normal memory."""
    original = page_in.map_pages

    def first(uv: Ultravisor, slot: FrameSlot, offsets: I64, addresses: I64) -> None:
        original(uv, slot, offsets, np.full_like(addresses, NORMAL_BASE))

    with only_in(page_in, "map_pages", first):
        yield


@contextmanager
def shared_as_they_are() -> Iterator[None]:
    """Share pages without zeroing them."""
    with only_in(share_page, "zero_pages", nothing):
        yield


@contextmanager
def aborted_runs() -> Iterator[None]:
    """Go on with an SVM that is aborted."""
    with everywhere(faults.require_running, lambda _: None), everywhere(access.require_secure, any_svm):
        yield


def any_svm(svm: Svm | None, gpa: Gpa) -> Svm:
    """Return an SVM, whether it is aborted or not."""
    if svm is None:
        raise access.AccessFailure("not secure", gpa)
    return svm


@contextmanager
def shared_at_once() -> Iterator[None]:
    """Say that a page is shared, and ask nobody for a normal page."""
    with cells(GFN, {Event.SHARE: {S.SECURE: Cell(S.SHARED, UCode.U_SUCCESS, Action.REQUEST_CHANGE)}}):
        yield


@contextmanager
def never_unshared() -> Iterator[None]:
    """Refuse every UV_UNSHARE_PAGE."""

    def refused(_: Ultravisor, __: Caller, ___: UnsharePage) -> Operation[Reply]:
        yield from ()
        return refuse(UNSHARE_PAGE[-1])

    with everywhere(uv_unshare_page, refused):
        yield


@dataclass(frozen=True)
class Case:
    """What is wrong, and where it is looked for."""

    fault: str | Fault | None
    plan: Plan = ONE


WITH_FAULT: Final = replace(ONE, faults=1)
TWO: Final = replace(ONE, plug=1)
UNRELIABLE: Final = replace(WITH_FAULT, delivery=Delivery.UNRELIABLE)
SHARED: Final = replace(ONE, image=(Part.SHARED,))
MEASURED: Final = replace(TWO, extras=frozenset({Extra.MEASURED_PLUG}))
KEPT: Final = replace(ONE, extras=frozenset({Extra.OLD_CIPHERTEXT}))

CASES: Final[dict[str, Case]] = {
    "no_plaintext_outside": Case("imported-kept", replace(TWO, faults=1)),
    "a_real_address_backs_one_gfn": Case(one_page_for_all, replace(TWO, troubles=Troubles(destroys=1))),
    "a_page_in_gives_back_the_page_out": Case("older-taken", KEPT),
    "a_page_is_zero_when_its_owner_changes": Case(shared_as_they_are, SHARED),
    "an_error_changes_neither_side": Case("K4", UNRELIABLE),
    "the_tables_agree": Case("K10", UNRELIABLE),
    "an_aborted_svm_never_runs": Case(aborted_runs, replace(TWO, faults=1)),
    "no_iv_comes_twice": Case("one-iv", replace(ONE, calls=2)),
    "nothing_is_left_behind": Case("K6", WITH_FAULT),
    "no_gfn_stays_in_between": Case("D10", WITH_FAULT),
    "the_vm_lives_by_its_table": Case("K3", WITH_FAULT),
    "a_gfn_lives_by_its_table": Case(shared_at_once),
    "the_guest_finds_what_it_wrote": Case("D2b", WITH_FAULT),
    "nothing_maps_a_page_taken_away": Case("K13", SHARED),
    "what_is_asked_succeeds": Case(never_unshared),
    "a_spoiled_page_is_not_taken": Case("older-taken", KEPT),
    "both_sides_have_the_same_slots": Case("measured-gone", MEASURED),
    "what_was_promised_is_so": Case("D14"),
    "a_message_acts_once": Case("the same number is done again", replace(ONE, troubles=Troubles(late=1))),
    EVERY_CALL_ENDS: Case(None, UNRELIABLE),
    NO_ANSWER: Case("nobody ends operations", replace(ONE, troubles=Troubles(deaths=1))),
}


def found(name: str, plan: Plan) -> Violation | None:
    """Search until an invariant is broken, or to the end; return how it is."""
    search = Search(plan)

    def is_there() -> bool:
        local = (each for known in search._locals.values() for each in known.violations)
        return any(name == nearest for nearest, _ in search.graph.nearest) or any(
            each.invariant == name for each in local
        )

    search.go_on(lambda progress: progress.transitions > MOST or is_there())
    return next((each for each in search.found().violations if each.invariant == name), None)


def test_every_invariant_has_a_case() -> None:
    assert [*CASES] == [*(each.__name__ for each in INVARIANTS), EVERY_CALL_ENDS, NO_ANSWER]


@pytest.mark.verify
@pytest.mark.parametrize("name", CASES)
def test_a_search_reports_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fault, plan = CASES[name].fault, CASES[name].plan
    mutant: Any = SEARCHED.get(fault) if isinstance(fault, str) else None
    triggered: Fault = mutant.triggered if mutant else nullcontext
    with triggered():
        if isinstance(fault, str) and not mutant:
            with monkeypatch.context() as patched:
                break_rule(fault, patched)
                violation = found(name, plan)
        else:
            applied: Fault = mutant.applied if mutant else (fault or nullcontext)  # type: ignore[assignment]
            with applied():
                violation = found(name, plan)
        assert violation is not None
        assert violation.sentence
        assert fault is None or name == NO_ANSWER or not comes_again(plan, violation)
