"""The pages that UV_ESM imports: what is out already is not asked for, and frozen like the rest.

Such a page is of a slot that was plugged in while UV_ESM was under way, and paged out since.
"""

from harness.ultravisor_fixtures import LPID, active_vm, machine, put, svm_of
from pef_protocol.codes import UCode
from pef_protocol.quantities import PAGE_SIZE, Lpid, SlotId
from pef_protocol.states import UvGfnState as S
from pef_protocol.ultracalls import UnregisterMemSlot
from pef_ultravisor.boot.image import Extent
from pef_ultravisor.boot.pages import import_extent


def test_a_page_that_is_out_already_is_imported_without_a_call_and_its_slot_stays() -> None:
    hv = machine()
    active_vm(hv, LPID, (0, 16, 4), (1, 20, 4))
    put(hv, 21, S.PAGEDOUT)
    slot = svm_of(hv).slots.holding(21)
    assert slot is not None
    hv.run(import_extent(hv.uv, svm_of(hv), Extent(21 * PAGE_SIZE, PAGE_SIZE), UCode.U_P2, "the kernel"))
    assert (slot.imported, slot.imported_absent) == (1, 1)
    asked = UnregisterMemSlot(Lpid(LPID), SlotId(1))
    assert hv.ultracall(asked).code is UCode.U_BUSY
    assert svm_of(hv).slots.holding(21) is slot
