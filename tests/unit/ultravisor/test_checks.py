"""Every check of every check order of the 12 ultracalls: alone, and with each later check of the same call.

Each call has a request that passes, and one spoiler a check: it changes the request, the caller or the
machine so that this check refuses. Two spoilers at once: the check that comes first in the documented order
answers. A check without a spoiler fails the test. Refused means that nothing changes and nothing is asked of
anybody.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from harness.scripted_hypervisor import HYPERVISOR, ScriptedHypervisor, guest
from harness.ultravisor_fixtures import LPID, machine, place, put, secure_vm, sound, svm_of, text
from pef_kit.runtime.messages import envelope
from pef_protocol.calls import CALLS, ULTRACALLS
from pef_protocol.check_orders import Check
from pef_protocol.codes import UCode
from pef_protocol.http import Caller, Role
from pef_protocol.quantities import PAGE_ORDER, SECURE_BIT, Lpid
from pef_protocol.runs import PageRuns, PlacedRuns
from pef_protocol.states import UvGfnState as S
from pef_protocol.states import UvVmState
from pef_ultravisor.gfn.columns import HCALL_PENDING

NORMAL_VM, UNKNOWN = 2, 3
FREE, OTHER, PAGED_OUT, BOUNCE = 16, 17, 18, 19
PAGE = 1 << PAGE_ORDER


@dataclass
class Attempt:
    """A call about to be made."""

    hv: ScriptedHypervisor
    caller: Caller
    arguments: dict[str, Any]

    def set(self, **arguments: Any) -> None:
        """Change arguments."""
        self.arguments.update(arguments)


Spoiler = Callable[[Attempt], object]


def fixture() -> ScriptedHypervisor:
    """Return a machine with a secure VM, some of whose GFNs are in other states, and a normal VM."""
    hv = machine()
    svm = secure_vm(hv, LPID, (0, 16, 8))
    hv.new_vm(NORMAL_VM, (0, 16, 8))
    put(hv, FREE, S.SECURE, frame=text("text"))
    put(hv, OTHER, S.SHARED, page=text("mail"))
    put(hv, PAGED_OUT, S.PAGEDOUT, frame=text("text"))
    put(hv, BOUNCE, S.SHARED_IMPLICIT)
    svm.files["disk-key"] = bytearray(100)
    return hv


def set_arguments(**arguments: Any) -> Spoiler:
    return lambda attempt: attempt.set(**arguments)


def from_a_guest(attempt: Attempt) -> None:
    attempt.caller = guest(LPID)


def from_problem_state(attempt: Attempt) -> None:
    attempt.caller = replace(attempt.caller, problem_state=True)


def from_vm(lpid: int) -> Spoiler:
    def spoil(attempt: Attempt) -> None:
        attempt.caller = replace(attempt.caller, lpid=Lpid(lpid))

    return spoil


def vm_state(state: UvVmState) -> Spoiler:
    def spoil(attempt: Attempt) -> None:
        svm_of(attempt.hv).state = state

    return spoil


def in_flight(attempt: Attempt) -> None:
    slot, at = place(attempt.hv, FREE)
    slot.mark(slice(at, at + 1), HCALL_PENDING)
    slot.calls_in_flight += 1
    svm_of(attempt.hv).open_calls += 1


def run(**parts: int) -> Spoiler:
    """Change a part of the one run that the call carries: ra, gpa or count."""

    def spoil(attempt: Attempt) -> None:
        (row,) = attempt.arguments["runs"]
        kind = type(attempt.arguments["runs"])
        attempt.set(runs=kind.of(tuple({**dict(zip(kind.COLUMNS, row, strict=True)), **parts}.values())))

    return spoil


def gpa(gfn: int) -> int:
    return gfn << PAGE_ORDER


ABORTED = vm_state(UvVmState.ABORT)
PAGING: dict[str, Spoiler] = {
    "caller": from_a_guest,
    "order": set_arguments(order=12),
    "flags": set_arguments(flags=1),
    "ra": run(ra=SECURE_BIT),
    "lpid": set_arguments(lpid=NORMAL_VM),
    "aborted": ABORTED,
    "gpa": run(gpa=gpa(24)),
}
OF_AN_SVM: dict[str, Spoiler] = {
    "caller": from_problem_state,
    "secure": from_vm(NORMAL_VM),
    "aborted": ABORTED,
}

PASSING: dict[str, dict[str, Any]] = {
    "UV_WRITE_PATE": {"lpid": NORMAL_VM, "dw0": 1, "dw1": 1},
    "UV_ESM": {"kernel_base": PAGE, "fdt": 8},
    "UV_REGISTER_MEM_SLOT": {"lpid": LPID, "start_gpa": gpa(32), "size": 4 * PAGE, "flags": 0, "slotid": 1},
    "UV_UNREGISTER_MEM_SLOT": {"lpid": LPID, "slotid": 0},
    "UV_PAGE_IN": {"lpid": LPID, "runs": (PlacedRuns, gpa(OTHER)), "flags": 0, "order": 16},
    "UV_PAGE_OUT": {"lpid": LPID, "runs": (PlacedRuns, gpa(FREE)), "flags": 0, "order": 16},
    "UV_SHARE_PAGE": {"gfn": FREE, "num": 1},
    "UV_UNSHARE_PAGE": {"gfn": OTHER, "num": 1},
    "UV_PAGE_INVAL": {"lpid": LPID, "runs": (PageRuns, gpa(OTHER)), "order": 16},
    "UV_SVM_TERMINATE": {"lpid": LPID},
    "UV_UNSHARE_ALL_PAGES": {},
    "UV_ESMB_GET_FILE": {"name": "disk-key", "offset": 0},
}
SPOILERS: dict[str, dict[str, Spoiler]] = {
    "UV_WRITE_PATE": {
        "caller": from_a_guest,
        "dw0": set_arguments(dw0=SECURE_BIT),
        "dw1": set_arguments(dw1=SECURE_BIT),
        "lpid": set_arguments(lpid=1 << 12),
        "svm": set_arguments(lpid=LPID),
    },
    "UV_ESM": {
        "caller": from_problem_state,
        "kernel_base": set_arguments(kernel_base=8),
        "fdt": set_arguments(fdt=4),
        "lpid": from_vm(UNKNOWN),
        "active": vm_state(UvVmState.ACTIVE),
        "aborted": ABORTED,
    },
    "UV_REGISTER_MEM_SLOT": {
        "caller": from_a_guest,
        "start_gpa": set_arguments(start_gpa=gpa(20) + 8),
        "size": set_arguments(size=PAGE + 1),
        "flags": set_arguments(flags=1),
        "slotid": set_arguments(slotid=512),
        "lpid": set_arguments(lpid=NORMAL_VM),
        "aborted": ABORTED,
        "registered": set_arguments(slotid=0),
        "overlap": set_arguments(start_gpa=gpa(23)),
    },
    "UV_UNREGISTER_MEM_SLOT": {
        "caller": from_a_guest,
        "slotid": set_arguments(slotid=512),
        "lpid": set_arguments(lpid=NORMAL_VM),
        "registered": set_arguments(slotid=1),
        "moving": in_flight,
    },
    "UV_PAGE_IN": {**PAGING, "state": run(gpa=gpa(FREE))},
    "UV_PAGE_OUT": {**PAGING, "state": run(gpa=gpa(PAGED_OUT))},
    "UV_SHARE_PAGE": {
        **OF_AN_SVM,
        "gfn": set_arguments(gfn=24),
        "num": set_arguments(num=9),
    },
    "UV_UNSHARE_PAGE": {
        **OF_AN_SVM,
        "gfn": set_arguments(gfn=24),
        "num": set_arguments(num=9),
        "state": set_arguments(gfn=BOUNCE),
    },
    "UV_PAGE_INVAL": {
        "caller": from_a_guest,
        "order": set_arguments(order=12),
        "lpid": set_arguments(lpid=NORMAL_VM),
        "aborted": ABORTED,
        "gpa": run(gpa=gpa(24)),
        "state": run(gpa=gpa(FREE)),
    },
    "UV_SVM_TERMINATE": {
        "caller": from_a_guest,
        "lpid": set_arguments(lpid=UNKNOWN),
        "svm": set_arguments(lpid=NORMAL_VM),
    },
    "UV_UNSHARE_ALL_PAGES": OF_AN_SVM,
    "UV_ESMB_GET_FILE": {
        **OF_AN_SVM,
        "name": set_arguments(name="no-such-file"),
        "offset": set_arguments(offset=101),
    },
}


def attempt_at(name: str) -> Attempt:
    """Return an attempt at a call that passes."""
    hv = fixture()
    arguments = dict(PASSING[name])
    match arguments.get("runs"):
        case (kind, address):
            row = (address, 1) if kind is PageRuns else (hv.spare(), address, 1)
            arguments["runs"] = kind.of(row)
    caller = HYPERVISOR if Role.HYPERVISOR in CALLS[name].callers else guest(LPID)
    return Attempt(hv, caller, arguments)


def pairs() -> Iterator[Any]:
    for call in ULTRACALLS:
        for at, check in enumerate(call.check_order):
            for later in (None, *call.check_order[at + 1 :]):
                name = f"{call.name}-{check.name}" + (f"-and-{later.name}" if later else "")
                yield pytest.param(call.name, check, later, id=name)


def test_every_check_has_a_spoiler() -> None:
    wanted = {call.name: {check.name for check in call.check_order} for call in ULTRACALLS}
    assert {name: set(spoilers) for name, spoilers in SPOILERS.items()} == wanted
    assert set(PASSING) == set(wanted)


@pytest.mark.parametrize("name", [name for name in PASSING if name != "UV_ESM"])
def test_passes_unspoilt(name: str) -> None:
    attempt = attempt_at(name)
    reply = attempt.hv.ultracall(CALLS[name].request(**attempt.arguments), attempt.caller)
    assert reply.code is UCode.U_SUCCESS


@pytest.mark.parametrize(("name", "check", "later"), list(pairs()))
def test_the_first_check_that_fails_answers(name: str, check: Check, later: Check | None) -> None:
    attempt = attempt_at(name)
    if later:
        SPOILERS[name][later.name](attempt)
    SPOILERS[name][check.name](attempt)
    before = attempt.hv.uv.digest()
    reply = attempt.hv.ultracall(CALLS[name].request(**attempt.arguments), attempt.caller)
    assert (reply.code, reply.check) == (check.code, check.name)
    assert envelope(name, reply)["check"] == {"name": check.name, "refuses": check.refuses}
    assert attempt.hv.uv.digest() == before
    assert (attempt.hv.asked, attempt.hv.transfers) == ([], 1)
    assert sound(attempt.hv)
