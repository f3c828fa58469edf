"""A normal page is held from the check of a call to the landing of its last byte, as its GFN is.

Source: rule 13 of ARCHITECTURE.md, "Identity and time"; attack 54.
"""

import pytest

from harness.held import Held
from harness.scripted_hypervisor import HYPERVISOR, ScriptedHypervisor
from harness.ultravisor_fixtures import LPID, machine, place, put, secure_vm, sound, state_of, text
from pef_kit.core.columns import gfn_set_of
from pef_kit.core.effects import Transfer
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, Gpa, Lpid
from pef_protocol.runs import PlacedRuns
from pef_protocol.states import UvGfnState as S
from pef_protocol.ultracalls import PageIn, PageOut
from pef_ultravisor.dispatch import guest_store, ultracall
from pef_ultravisor.gfn.columns import IN_FLIGHT
from pef_ultravisor.in_flight import in_flight

OTHER = 2


@pytest.fixture
def hv() -> ScriptedHypervisor:
    hv = machine()
    secure_vm(hv)
    secure_vm(hv, OTHER)
    put(hv, 17, S.SECURE, frame=text("secret"))
    put(hv, 18, S.SHARED_INV)
    put(hv, 19, S.PAGEDOUT, frame=text("other"))
    return hv


def paging(name: str, lpid: int, ra: int, gfn: int) -> PageIn | PageOut:
    form = PageIn if name == "UV_PAGE_IN" else PageOut
    return form(Lpid(lpid), PlacedRuns.of((ra, gfn << PAGE_ORDER, 1)), 0, PAGE_ORDER)


def begun(hv: ScriptedHypervisor, name: str, ra: int, gfn: int) -> Held[Reply]:
    """Begin a paging call of VM 1, and let it stand while its bytes are under way."""
    return hv.start(ultracall(hv.uv, HYPERVISOR, name, paging(name, LPID, ra, gfn))).until(Transfer)


@pytest.mark.parametrize("lpid", [LPID, OTHER])
@pytest.mark.parametrize("name", ["UV_PAGE_IN", "UV_PAGE_OUT"])
def test_54_a_target_is_given_to_nobody_while_bytes_go_to_it(
    hv: ScriptedHypervisor, name: str, lpid: int
) -> None:
    page = hv.spare()
    out = begun(hv, "UV_PAGE_OUT", page, 17)
    assert hv.ultracall(paging(name, lpid, page, 18)).code is UCode.U_P2
    assert out.finish().code is UCode.U_SUCCESS
    assert hv.ultracall(paging("UV_PAGE_IN", LPID, page, 17)).code is UCode.U_SUCCESS
    assert sound(hv)


def test_a_source_is_given_to_nobody_while_bytes_come_from_it(hv: ScriptedHypervisor) -> None:
    source = hv.ra(LPID, 19)
    coming = begun(hv, "UV_PAGE_IN", source, 19)
    assert hv.ultracall(paging("UV_PAGE_IN", LPID, source, 18)).code is UCode.U_P2
    assert hv.ultracall(paging("UV_PAGE_OUT", LPID, source, 17)).code is UCode.U_P2
    assert coming.finish().code is UCode.U_SUCCESS
    assert hv.ultracall(paging("UV_PAGE_IN", LPID, source, 18)).code is UCode.U_SUCCESS
    assert sound(hv)


def test_a_shared_page_is_in_flight_while_its_guest_stores(hv: ScriptedHypervisor) -> None:
    put(hv, 20, S.SHARED)
    page = hv.ra(LPID, 20)
    store = hv.start(guest_store(hv.uv, Lpid(LPID), Gpa(20 * PAGE_SIZE), b"mail")).until(Transfer)
    assert hv.uv.normal_pages.pinned == 1
    assert hv.ultracall(paging("UV_PAGE_IN", LPID, page, 20)).code is UCode.U_BUSY
    assert hv.ultracall(paging("UV_PAGE_IN", LPID, page, 18)).code is UCode.U_P2
    store.finish()
    assert hv.uv.normal_pages.pinned == 0
    assert sound(hv)


def test_nothing_stays_in_flight_whatever_ends_a_call(hv: ScriptedHypervisor) -> None:
    svm = hv.uv.svms[Lpid(LPID)]
    slot, at = place(hv, 17)
    held = in_flight(hv.uv, svm, IN_FLIGHT, [gfn_set_of(slot, at, 1)], room=3)
    held.__enter__()
    assert (slot.in_flight(slice(None)).sum(), hv.uv.reserved, svm.open_calls) == (1, 3, 1)
    assert not held.__exit__(MemoryError, MemoryError(), None)
    assert (slot.in_flight(slice(None)).sum(), hv.uv.reserved, svm.open_calls) == (0, 0, 0)


def test_a_call_that_is_dropped_leaves_its_target(hv: ScriptedHypervisor) -> None:
    page = hv.spare()
    operation = ultracall(hv.uv, HYPERVISOR, "UV_PAGE_OUT", paging("UV_PAGE_OUT", LPID, page, 17))
    next(operation)
    assert hv.uv.normal_pages.pinned == 1
    operation.close()
    assert hv.uv.normal_pages.pinned == 0
    assert state_of(hv, 17) is S.SECURE
    assert sound(hv)
