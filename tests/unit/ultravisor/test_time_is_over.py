"""What must be done in the end is done though time is over: who waits patiently asks patiently.

Source: rule 8 of ARCHITECTURE.md, "Identity and time".
"""

from collections.abc import Callable
from typing import Any

import pytest

from harness.scripted_hypervisor import ScriptedHypervisor
from harness.ultravisor_fixtures import LPID, active_vm, machine, place, put, secure_vm, svm_of
from pef_kit.core.columns import gfn_set_of
from pef_kit.core.effects import Backoff, Effect, Operation, PeerCall
from pef_protocol.calls import Reply
from pef_protocol.codes import HCode
from pef_protocol.quantities import PAGE_SIZE, Gpa
from pef_protocol.states import UvGfnState as S
from pef_ultravisor.from_guest.esm import restore_normal_vm
from pef_ultravisor.from_guest.share_page import revert
from pef_ultravisor.from_guest.store import store

ROUNDS = 50
"""Effects after which an operation is said never to end."""


def run_after_time(hv: ScriptedHypervisor, operation: Operation[Any]) -> tuple[str, ...]:
    """Run an operation whose time is over, as a service does; return the calls that it made."""
    made: list[str] = []
    effect: Effect
    answer: Any = None
    for _ in range(ROUNDS):
        try:
            effect = operation.send(answer)
        except StopIteration:
            return tuple(made)
        if isinstance(effect, PeerCall) and not effect.ignore_deadline:
            answer = Reply(HCode.H_BUSY)
            continue
        if isinstance(effect, PeerCall):
            made.append(effect.name)
        answer = effect.ignore_deadline if isinstance(effect, Backoff) else hv.perform(effect)
    message = f"it never ends: {made}"
    raise AssertionError(message)


def abort_path(hv: ScriptedHypervisor) -> Operation[Any]:
    """Have a VM go on as a normal one, after a UV_ESM that failed."""
    active_vm(hv, LPID, (0, 16, 4))
    return restore_normal_vm(hv.uv, svm_of(hv))


def undone_share(hv: ScriptedHypervisor) -> Operation[Any]:
    """Undo a share that the Hypervisor has granted."""
    secure_vm(hv, LPID, (0, 16, 4))
    put(hv, 17, S.HV_SHARED)
    slot, at = place(hv, 17)
    return revert(hv.uv, svm_of(hv), [gfn_set_of(slot, at, 1)])


def store_to_a_page_that_is_out(hv: ScriptedHypervisor) -> Operation[Any]:
    """Store as UV_ESM stores the edited device tree, to a page that is paged out."""
    secure_vm(hv, LPID, (0, 16, 4))
    put(hv, 17, S.PAGEDOUT)
    return store(hv.uv, svm_of(hv), Gpa(17 * PAGE_SIZE), bytes(PAGE_SIZE), ignore_deadline=True)


def store_where_room_is_short(hv: ScriptedHypervisor) -> Operation[Any]:
    """Store to such a page where another one has to go out first."""
    secure_vm(hv, LPID, (0, 16, 5))
    put(hv, 17, S.PAGEDOUT)
    return store(hv.uv, svm_of(hv), Gpa(17 * PAGE_SIZE), bytes(PAGE_SIZE), ignore_deadline=True)


@pytest.mark.parametrize(
    ("begin", "made"),
    [
        (abort_path, ("H_SVM_INIT_ABORT",)),
        (undone_share, ("H_SVM_PAGE_IN",)),
        (store_to_a_page_that_is_out, ("H_SVM_PAGE_IN",)),
        (store_where_room_is_short, ("H_SVM_PAGE_OUT", "H_SVM_PAGE_IN")),
    ],
)
def test_what_must_end_ends(
    begin: Callable[[ScriptedHypervisor], Operation[Any]], made: tuple[str, ...]
) -> None:
    hv = machine(secure_pages=4)
    assert run_after_time(hv, begin(hv)) == made
