"""UV_UNREGISTER_MEM_SLOT."""

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
    state_of,
    svm_of,
    text,
)
from pef_kit.core.columns import gfn_set_of
from pef_protocol.codes import UCode
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, Gpa, Lpid, SlotId
from pef_protocol.states import UvGfnState as S
from pef_protocol.ultracalls import RegisterMemSlot, UnregisterMemSlot
from pef_ultravisor.access import AccessFailure
from pef_ultravisor.gfn.columns import BUSY, HCALL_PENDING, IMPORTED
from pef_ultravisor.in_flight import in_flight


@pytest.fixture
def hv() -> ScriptedHypervisor:
    hv = machine()
    secure_vm(hv, LPID, (0, 16, 8))
    return hv


def register(hv: ScriptedHypervisor, start: int, size: int, slotid: int = 1, flags: int = 0) -> UCode:
    request = RegisterMemSlot(Lpid(LPID), Gpa(start), size, flags, SlotId(slotid))
    return UCode(hv.ultracall(request).code)


def unregister(hv: ScriptedHypervisor, slotid: int = 0) -> UCode:
    return UCode(hv.ultracall(UnregisterMemSlot(Lpid(LPID), SlotId(slotid))).code)


def gpa(gfn: int) -> int:
    return gfn << PAGE_ORDER


def test_nothing_of_an_unregistered_slot_is_left(hv: ScriptedHypervisor) -> None:
    states = (S.SECURE, S.PAGEDOUT, S.SHARED, S.SHARED_INV, S.SHARED_IMPLICIT, S.PSEUDO_SHARED)
    for at, state in enumerate(states):
        put(hv, 16 + at, state, frame=text("text"), page=text("mail"))
    slot, _ = place(hv, 16)
    assert unregister(hv) is UCode.U_SUCCESS
    assert not slot.frames.at(0, 8 * PAGE_SIZE).any()
    assert (hv.uv.resident, hv.uv.normal_pages.used) == (0, 0)
    with pytest.raises(AccessFailure, match="no slot"):
        hv.load(LPID, gpa(16), 1)
    assert unregister(hv) is UCode.U_P2
    assert register(hv, gpa(16), 8 * PAGE_SIZE, 0) is UCode.U_SUCCESS
    assert hv.load(LPID, gpa(16), 8 * PAGE_SIZE) == ZERO * 8
    assert sound(hv)


def test_neighbours_of_an_unregistered_slot_stay_as_they_are() -> None:
    hv = machine()
    secure_vm(hv, LPID, (0, 12, 4), (1, 16, 4), (2, 20, 4))
    for gfn in (15, 20):
        put(hv, gfn, S.SHARED, page=text("mail"))
    assert unregister(hv, 1) is UCode.U_SUCCESS
    assert [state_of(hv, gfn) for gfn in (15, 20)] == [S.SHARED] * 2
    assert hv.load(LPID, gpa(20), PAGE_SIZE) == text("mail")
    assert sound(hv)


@pytest.mark.parametrize("bit", [BUSY, HCALL_PENDING])
def test_a_slot_with_a_page_in_flight_stays(hv: ScriptedHypervisor, bit: int) -> None:
    slot, _ = place(hv, 16)
    with in_flight(hv.uv, svm_of(hv), bit, [gfn_set_of(slot, 3, 1)]):
        assert unregister(hv) is UCode.U_BUSY
    assert place(hv, 16)[0] is slot


def test_while_uv_esm_is_open_only_a_slot_without_measured_pages_goes() -> None:
    hv = machine()
    active_vm(hv, LPID, (0, 16, 4), (1, 20, 4))
    place(hv, 16)[0].mark(slice(0, 1), IMPORTED)
    assert unregister(hv, 1) is UCode.U_SUCCESS
    assert unregister(hv, 0) is UCode.U_BUSY
