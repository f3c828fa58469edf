"""Every check of the five hypercalls' check orders: alone and with each later one; a refusal changes nothing.

Source: specification of the Hypervisor, section 5.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import pytest

from harness.hypervisor_fixtures import ULTRAVISOR, HypervisorUnderTest, gfn_runs
from pef_kit.runtime.messages import envelope
from pef_protocol.calls import CALLS
from pef_protocol.http import Caller, Role
from pef_protocol.hypercalls import SvmInitAbort, SvmInitDone, SvmInitStart, SvmPageIn, SvmPageOut
from pef_protocol.quantities import PAGE_ORDER, Lpid, PageOrder


@dataclass
class Attempt:
    """A hypercall to be made, and the world that it is made in."""

    call: str
    options: dict[str, Any] = field(default_factory=dict)
    actions: list[Callable[[HypervisorUnderTest], object]] = field(default_factory=list)
    caller: Caller = ULTRAVISOR
    changes: dict[str, Any] = field(default_factory=dict)


Fault = Callable[[Attempt], None]


def changed(**arguments: Any) -> Fault:
    """Return the fault of having these arguments instead."""
    return lambda attempt: attempt.changes.update(arguments)


def wrong_caller(attempt: Attempt) -> None:
    """Let the VM's kernel itself call."""
    attempt.caller = Caller(Role.GUEST, Lpid(1))


def not_started(attempt: Attempt) -> None:
    """Leave H_SVM_INIT_START out."""
    attempt.actions.append(lambda world: world.reset())


def made_secure(attempt: Attempt) -> None:
    """Make the VM secure first."""
    attempt.actions.append(lambda world: (world.init_start(), world.init_done()))


def option(**options: Any) -> Fault:
    """Return the fault of a VM or host made with these options."""
    return lambda attempt: attempt.options.update(options)


def held_by_ultravisor(attempt: Attempt) -> None:
    """Have the GFN secured already."""
    attempt.actions.append(lambda world: world.page_in((2, 1)))


PAGING: dict[str, Fault] = {
    "caller": wrong_caller,
    "started": not_started,
    "order": changed(order=PageOrder(12)),
    "flags": changed(flags=1 << 63),
    "gpa": changed(runs=gfn_runs((2, 1 << 40))),
}
FAULTS: dict[str, dict[str, Fault]] = {
    "H_SVM_INIT_START": {
        "caller": wrong_caller,
        "lpid": changed(lpid=Lpid(99)),
        "state": made_secure,
        "secure_memory": option(device_pages=0),
        "radix": option(radix=False),
        "authority": option(secure_guest=False),
    },
    "H_SVM_INIT_DONE": {"caller": wrong_caller, "started": not_started, "state": made_secure},
    "H_SVM_INIT_ABORT": {"caller": wrong_caller, "started": not_started, "state": made_secure},
    "H_SVM_PAGE_IN": {**PAGING, "state": held_by_ultravisor},
    "H_SVM_PAGE_OUT": PAGING,
}
REQUESTS: dict[str, Any] = {
    "H_SVM_INIT_START": SvmInitStart(Lpid(1)),
    "H_SVM_INIT_DONE": SvmInitDone(Lpid(1)),
    "H_SVM_INIT_ABORT": SvmInitAbort(Lpid(1)),
    "H_SVM_PAGE_IN": SvmPageIn(Lpid(1), gfn_runs((2, 1)), 0, PAGE_ORDER),
    "H_SVM_PAGE_OUT": SvmPageOut(Lpid(1), gfn_runs((2, 1)), 0, PAGE_ORDER),
}
IMPOSSIBLE = {
    ("H_SVM_INIT_START", "lpid", "state"),
    ("H_SVM_INIT_START", "state", "secure_memory"),
    ("H_SVM_INIT_START", "state", "radix"),
    ("H_SVM_INIT_START", "state", "authority"),
    ("H_SVM_INIT_DONE", "started", "state"),
    ("H_SVM_INIT_ABORT", "started", "state"),
    ("H_SVM_PAGE_IN", "started", "state"),
}
"""Pairs that no VM can have by calls alone; those of H_SVM_INIT_START are tested by hand below."""

ALONE: list[tuple[str, tuple[str, ...]]] = [
    (call, (check,)) for call, faults in FAULTS.items() for check in faults
]
PAIRS: list[tuple[str, tuple[str, ...]]] = [
    (call, pair)
    for call, faults in FAULTS.items()
    for pair in combinations(faults, 2)
    if (call, *pair) not in IMPOSSIBLE
]


def prepared(call: str, checks: tuple[str, ...]) -> tuple[HypervisorUnderTest, Attempt]:
    """Return a world in which exactly these checks refuse the call."""
    attempt = Attempt(call)
    for check in checks:
        FAULTS[call][check](attempt)
    world = HypervisorUnderTest(**attempt.options)
    if call != "H_SVM_INIT_START":
        world.init_start()
    for action in attempt.actions:
        action(world)
    world.uv.asked.clear()
    return world, attempt


def test_every_check_has_a_fault() -> None:
    assert {call: list(faults) for call, faults in FAULTS.items()} == {
        call: [check.name for check in CALLS[call].check_order] for call in FAULTS
    }


@pytest.mark.parametrize(
    ("call", "checks"),
    ALONE + PAIRS,
    ids=lambda value: "+".join([value] if isinstance(value, str) else value),
)
def test_the_first_check_answers_with_its_sentence_and_nothing_changes(
    call: str, checks: tuple[str, ...]
) -> None:
    world, attempt = prepared(call, checks)
    request = replace(REQUESTS[call], **attempt.changes)
    before = world.hv.digest()
    reply = world.call(call, request, attempt.caller)
    wanted = next(check for check in CALLS[call].check_order if check.name == checks[0])
    assert (reply.code, reply.check) == (wanted.code, wanted.name)
    assert envelope(call, reply)["check"] == {"name": wanted.name, "refuses": wanted.refuses}
    if hasattr(request, "runs"):
        assert reply.refused.pages == (request.runs.pages if wanted.per_run else 0)
        assert {code for _, _, code in reply.refused.coded()} == (
            {int(wanted.code)} if wanted.per_run else set()
        )
    assert world.uv.asked == []
    assert world.hv.digest() == before
    assert world.sound()


@pytest.mark.parametrize("call", FAULTS)
def test_without_a_fault_the_call_does_its_work(call: str) -> None:
    world, _ = prepared(call, ())
    before = world.hv.digest()
    assert world.call(call, REQUESTS[call]).code.name in {"H_SUCCESS", "H_PARAMETER"}
    assert (world.hv.digest() != before) is (call != "H_SVM_PAGE_OUT")


@pytest.mark.parametrize("later", [{"radix": False}, {"secure_guest": False}], ids=str)
def test_a_started_vm_is_h_state_whatever_else_is_wrong(later: dict[str, bool]) -> None:
    world = HypervisorUnderTest()
    world.init_start()
    for name, value in later.items():
        setattr(world.vm, name, value)
    assert world.init_start().code.name == "H_STATE"
    world.hv.store.pool.size = 0
    assert world.init_start().code.name == "H_STATE"


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.ULTRAVISOR])
@pytest.mark.parametrize("call", FAULTS)
def test_nobody_but_the_ultravisor_may_call(call: str, role: Role) -> None:
    world, _ = prepared(call, ())
    before = world.hv.digest()
    assert world.call(call, REQUESTS[call], Caller(role)).code.name == "H_UNSUPPORTED"
    assert world.hv.digest() == before


@pytest.mark.parametrize("call", [call for call in FAULTS if call != "H_SVM_INIT_START"])
def test_a_vm_that_there_is_not_was_never_started(call: str) -> None:
    world, _ = prepared(call, ())
    reply = world.call(call, replace(REQUESTS[call], lpid=Lpid(4095)))
    assert reply.code.name == "H_UNSUPPORTED"


def test_an_unknown_call_is_h_function() -> None:
    world = HypervisorUnderTest()
    assert world.run(world.hv.hypercall(ULTRAVISOR, "H_SVM_TPM_COMM", None)).code.name == "H_FUNCTION"
