"""UV_SVM_TERMINATE, in each state of a VM."""

import pytest

from harness.scripted_hypervisor import ScriptedHypervisor
from harness.ultravisor_fixtures import (
    LPID,
    ZERO,
    active_vm,
    machine,
    place,
    put,
    secure_vm,
    sound,
    svm_of,
    text,
)
from pef_kit.core.effects import Backoff, Transfer
from pef_protocol.codes import UCode
from pef_protocol.quantities import PAGE_SIZE, Gpa, Lpid
from pef_protocol.states import UvGfnState as S
from pef_protocol.states import UvVmState
from pef_protocol.ultracalls import SvmTerminate, WritePate
from pef_ultravisor.access import AccessFailure
from pef_ultravisor.dispatch import guest_store


def write(hv: ScriptedHypervisor, lpid: int, dw0: int = 1, dw1: int = 1) -> UCode:
    return UCode(hv.ultracall(WritePate(Lpid(lpid), dw0, dw1)).code)


def terminate(hv: ScriptedHypervisor, lpid: int = LPID) -> UCode:
    return UCode(hv.ultracall(SvmTerminate(Lpid(lpid))).code)


@pytest.mark.parametrize("state", UvVmState)
def test_an_svm_ends_in_any_state_and_leaves_nothing(state: UvVmState) -> None:
    hv = machine()
    svm = active_vm(hv, LPID, (0, 0, 14))
    file = svm.files["key"] = bytearray(b"secret")
    for gfn, of in enumerate(S):
        put(hv, gfn, of, frame=text("text"), page=text("mail"))
    slot, _ = place(hv, 0)
    svm.state = state
    assert terminate(hv) is UCode.U_SUCCESS
    assert hv.uv.svm(LPID) is None
    assert (hv.uv.resident, hv.uv.normal_pages.used, svm.files) == (0, 0, {})
    assert file == bytes(len(b"secret"))
    assert not slot.frames.at(0, 14 * PAGE_SIZE).any()
    assert terminate(hv) is UCode.U_INVALID
    assert write(hv, LPID) is UCode.U_SUCCESS
    assert sound(hv)


def test_an_svm_has_not_ended_while_bytes_of_it_are_on_their_way_to_a_normal_page() -> None:
    hv = machine()
    secure_vm(hv)
    put(hv, 16, S.SHARED, page=text("mail"))
    page = hv.ra(LPID, 16)
    store = hv.start(guest_store(hv.uv, Lpid(LPID), Gpa(16 * PAGE_SIZE), text("last words"))).until(Transfer)
    ending = hv.terminating(LPID)
    for _ in range(3):
        ending.step()
    assert hv.uv.svm(LPID) is None
    assert hv.uv.normal_pages.used == 1
    with pytest.raises(AccessFailure, match="has ended"):
        store.finish()
    assert hv.page(page) == text("mail")
    assert ending.finish().code is UCode.U_SUCCESS
    assert (hv.uv.svm(LPID), hv.uv.normal_pages.used) == (None, 0)
    assert sound(hv)


def test_a_second_terminate_waits_for_the_same_bytes() -> None:
    hv = machine()
    secure_vm(hv)
    put(hv, 16, S.SHARED, page=text("mail"))
    store = hv.start(guest_store(hv.uv, Lpid(LPID), Gpa(16 * PAGE_SIZE), text("last words"))).until(Transfer)
    endings = [hv.terminating(LPID), hv.terminating(LPID)]
    for ending in endings:
        ending.until(Backoff)
    with pytest.raises(AccessFailure, match="has ended"):
        store.finish()
    assert [ending.finish().code for ending in endings] == [UCode.U_SUCCESS, UCode.U_INVALID]
    assert sound(hv)


def test_another_svm_is_not_touched() -> None:
    hv = machine()
    secure_vm(hv, LPID)
    put(hv, 16, S.SECURE, frame=text("text"))
    secure_vm(hv, 2)
    assert terminate(hv, 2) is UCode.U_SUCCESS
    assert hv.load(LPID, 16 * PAGE_SIZE, PAGE_SIZE) == text("text")
    assert hv.load(LPID, 17 * PAGE_SIZE, PAGE_SIZE) == ZERO
    assert svm_of(hv).life.alive
