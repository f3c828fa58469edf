"""Checkpoints of the Ultravisor: every field is told, restored and comparable; keys are in no repr."""

import pickle
from collections.abc import Callable

import numpy as np
import pytest

from harness.scripted_hypervisor import ScriptedHypervisor
from harness.ultravisor_fixtures import LPID, frame_of, machine, put, secure_vm, sound, state_of, svm_of, text
from pef_explorer.checkpoints.ultravisor import UvSpares, checkpoint, restore
from pef_protocol.codes import UCode
from pef_protocol.designs import Design
from pef_protocol.quantities import PAGE_SIZE, Lpid
from pef_protocol.states import UvGfnState as S
from pef_protocol.states import UvVmState
from pef_ultravisor.gfn.columns import HCALL_PENDING, FrameSlot
from pef_ultravisor.memory.frames import Frames
from pef_ultravisor.state import Capacity, Svm, Ultravisor

PLUGGED = (1, 40, 3)


def fixture() -> ScriptedHypervisor:
    """Return a machine with a secure VM of two slots: a page each is paged out and shared."""
    hv = machine()
    secure_vm(hv, LPID, (0, 16, 8), PLUGGED)
    put(hv, 17, S.PAGEDOUT, frame=text("sealed"))
    put(hv, 41, S.SHARED)
    svm = svm_of(hv)
    svm.files["disk-key"] = bytearray(b"the contents of a file")
    svm.handed_out["disk-key"] = 4
    return hv


def slot_of(uv: Ultravisor) -> FrameSlot:
    """Return the slot of 8 GFNs."""
    slot = uv.svms[Lpid(LPID)].slots.get(0)
    assert slot is not None
    return slot


def svm_in(uv: Ultravisor) -> Svm:
    """Return the one SVM."""
    return uv.svms[Lpid(LPID)]


CHANGES: dict[str, Callable[[Ultravisor], object]] = {
    "a partition-table entry": lambda uv: uv.pates.update({Lpid(9): (1, 2)}),
    "an incarnation": lambda uv: uv.renew(Lpid(LPID)),
    "pages promised": lambda uv: setattr(uv, "reserved", 3),
    "the clock's hand": lambda uv: setattr(uv, "clock_hand", (1, 16, 5)),
    "the SVM's state": lambda uv: setattr(svm_in(uv), "state", UvVmState.ABORT),
    "its design": lambda uv: setattr(svm_in(uv), "design", Design.EAGER),
    "H_SVM_INIT_DONE outstanding": lambda uv: setattr(svm_in(uv), "done_outstanding", True),
    "whole": lambda uv: setattr(svm_in(uv), "whole", False),
    "open calls": lambda uv: setattr(svm_in(uv), "open_calls", 2),
    "a file": lambda uv: svm_in(uv).files.update({"disk-key": bytearray(b"another")}),
    "what was handed out": lambda uv: svm_in(uv).handed_out.clear(),
    "IVs used": lambda uv: svm_in(uv).sealer.take_ivs(5),
    "a state": lambda uv: slot_of(uv).state.fill(S.SHARED_INV),
    "a mark": lambda uv: slot_of(uv).mark(np.array([2]), HCALL_PENDING),
    "a normal page": lambda uv: slot_of(uv).normal.fill(1 << 32),
    "a counter": lambda uv: slot_of(uv).counter.fill(9),
    "a tag": lambda uv: slot_of(uv).tag.fill(9),
    "a slot gone": lambda uv: list(uv.release_slot(svm_in(uv), slot_of(uv))),
    "the SVM gone": lambda uv: uv.end(svm_in(uv)),
    "another SVM": lambda uv: uv.new_svm(Lpid(5)),
    "another key": lambda uv: uv.new_svm(Lpid(LPID)),
}


@pytest.mark.parametrize("kept", [True, False], ids=["spares kept", "no spares"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_each_part_is_told_and_restored(change: Callable[[Ultravisor], object], *, kept: bool) -> None:
    hv = fixture()
    spares = UvSpares() if kept else None
    before = checkpoint(hv.uv)
    restore(hv.uv, before, spares)
    assert checkpoint(hv.uv) == before
    change(hv.uv)
    assert checkpoint(hv.uv) != before
    restore(hv.uv, before, spares)
    assert checkpoint(hv.uv) == before
    assert sound(hv)
    assert svm_of(hv).life.alive


def test_a_restored_machine_goes_on_where_it_was() -> None:
    hv = fixture()
    before = checkpoint(hv.uv)
    assert hv.page_in(LPID, 17).code is UCode.U_SUCCESS
    after = checkpoint(hv.uv)
    restore(hv.uv, before)
    assert state_of(hv, 17) is S.PAGEDOUT
    assert hv.page_in(LPID, 17).code is UCode.U_SUCCESS
    assert checkpoint(hv.uv) == after
    assert frame_of(hv, 17) == text("sealed")


def test_normal_pages_in_use_are_those_of_the_columns() -> None:
    hv = fixture()
    before = checkpoint(hv.uv)
    put(hv, 20, S.SHARED)
    assert hv.uv.normal_pages.used == 2
    restore(hv.uv, before)
    assert hv.uv.normal_pages.used == 1


def test_spares_give_the_same_frames_back() -> None:
    hv, spares = fixture(), UvSpares()
    before = checkpoint(hv.uv)
    restore(hv.uv, before, spares)
    slot, sealer = slot_of(hv.uv), svm_in(hv.uv).sealer
    hv.uv.end(svm_in(hv.uv))
    restore(hv.uv, before, spares)
    assert slot_of(hv.uv) is slot
    assert svm_in(hv.uv).sealer is sealer


def test_a_slot_of_another_place_is_another_slot() -> None:
    hv = machine()
    secure_vm(hv, LPID, (0, 16, 8))
    before = checkpoint(hv.uv)
    other = machine()
    secure_vm(other, LPID, (0, 24, 8))
    restore(other.uv, before)
    assert checkpoint(other.uv) == before
    assert svm_of(other).slots.holding(16) is not None
    assert svm_of(other).slots.holding(24) is None


def test_a_checkpoint_is_a_value() -> None:
    before = checkpoint(fixture().uv)
    assert before == checkpoint(fixture().uv)
    assert hash(before) == hash(checkpoint(fixture().uv))
    assert pickle.loads(pickle.dumps(before)) == before  # noqa: S301 - our own bytes


def test_no_repr_tells_a_key_or_a_file() -> None:
    before = checkpoint(fixture().uv)
    shown = repr(before)
    (svm,) = before.svms
    assert "disk-key" in shown
    assert "the contents" not in shown
    for secret in (svm.sealer.key, svm.sealer.fixed):
        assert repr(secret) not in shown
        assert repr(secret)[2:-1] not in shown


def test_frames_come_from_the_factory_of_the_machine() -> None:
    made: list[int] = []

    def counted(count: int) -> Frames:
        made.append(count)
        return Frames(count)

    uv = Ultravisor(Capacity(64, 64 * PAGE_SIZE), bytes, frames=counted)
    hv = ScriptedHypervisor(uv)
    secure_vm(hv, LPID, (0, 16, 8), PLUGGED)
    assert made == [8, 3]
    before = checkpoint(uv)
    uv.end(svm_in(uv))
    restore(uv, before)
    assert made == [8, 3, 3, 8]
