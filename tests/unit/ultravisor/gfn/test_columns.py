"""What a slot counts is what its columns hold, whatever happened to its GFNs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.scripted_hypervisor import ScriptedHypervisor
from harness.ultravisor_fixtures import LPID, machine, put, secure_vm, sound, svm_of
from pef_kit.core import parts
from pef_protocol.codes import UCode
from pef_protocol.quantities import Gfn, Lpid, SlotId
from pef_protocol.states import UvGfnState as S
from pef_protocol.ultracalls import SvmTerminate, UnregisterMemSlot
from pef_ultravisor.gfn.columns import FRAME_POPULATED, IMPORTED, FrameSlot
from pef_ultravisor.memory.frames import Frames
from pef_ultravisor.to_hypervisor.eviction import make_room

COUNT = 8
GFNS = st.sets(st.integers(0, COUNT - 1), min_size=1).map(lambda gfns: np.array(sorted(gfns)))
CHANGES = st.lists(
    st.tuples(
        st.one_of(GFNS, st.just(slice(2, 6)), st.just(slice(None))),
        st.one_of(st.sampled_from(S), st.sampled_from(["mark", "unmark"])),
        st.sampled_from([IMPORTED, FRAME_POPULATED, IMPORTED | FRAME_POPULATED]),
    )
)


@given(changes=CHANGES)
def test_counts_are_those_of_the_columns(changes: list[tuple[slice, S | str, int]]) -> None:
    slot = FrameSlot(SlotId(0), Gfn(0), COUNT, Frames)
    for chosen, change, bit in changes:
        if isinstance(change, S):
            slot.put(chosen, change)
        else:
            (slot.mark if change == "mark" else slot.unmark)(chosen, bit)
    imported = (slot.marks & IMPORTED) != 0
    counts = slot.absent, slot.imported, slot.imported_absent
    columns = slot.state, imported, slot.state[imported]
    assert counts == tuple([int(np.count_nonzero(column)) for column in columns])


@pytest.fixture
def hv(monkeypatch: pytest.MonkeyPatch) -> ScriptedHypervisor:
    """Give a machine with a VM of two slots, each of which takes several parts."""
    monkeypatch.setattr(parts, "PART", 3)
    hv = machine(secure_pages=16)
    secure_vm(hv, LPID, (0, 16, 8), (1, 24, 8))
    for gfn in (17, 22, 25):
        put(hv, gfn, S.SHARED)
    put(hv, 20, S.PAGEDOUT)
    return hv


def test_a_slot_that_leaves_counts_until_nothing_of_it_is_left(hv: ScriptedHypervisor) -> None:
    svm = svm_of(hv)
    leaving = svm.slots.get(SlotId(0))
    assert leaving is not None
    going = hv.uv.release_slot(svm, leaving)
    before = hv.uv.resident, hv.uv.normal_pages.used
    for _ in going:
        assert svm.slots.get(SlotId(0)) is None
        assert hv.uv.resident == before[0]
        assert sound(hv)
    assert (hv.uv.resident, hv.uv.normal_pages.used) == (7, 1)
    assert sound(hv)


def test_an_svm_that_ends_while_a_slot_leaves_takes_it_along(hv: ScriptedHypervisor) -> None:
    svm = svm_of(hv)
    leaving = svm.slots.get(SlotId(0))
    assert leaving is not None
    going = hv.uv.release_slot(svm, leaving)
    next(going)
    assert hv.ultracall(SvmTerminate(Lpid(LPID))).code is UCode.U_SUCCESS
    assert (hv.uv.resident, hv.uv.normal_pages.used, svm.held_slots) == (0, 0, [])
    for _ in going:
        assert sound(hv)


def test_a_slot_is_unregistered_part_by_part(hv: ScriptedHypervisor) -> None:
    assert hv.ultracall(UnregisterMemSlot(Lpid(LPID), SlotId(0))).code is UCode.U_SUCCESS
    assert (hv.uv.resident, hv.uv.normal_pages.used) == (7, 1)
    assert sound(hv)


def test_the_clock_finds_victims_in_every_part(hv: ScriptedHypervisor) -> None:
    assert hv.run(make_room(hv.uv, 16, new=True))
    assert (hv.uv.resident, set(hv.names)) == (0, {"H_SVM_PAGE_OUT"})
    assert sound(hv)
