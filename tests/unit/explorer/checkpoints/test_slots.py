"""What checkpoints write to the slots of a VM: which slots there are, and what a slot counts."""

import numpy as np

from pef_explorer.checkpoints.slots import hold
from pef_explorer.checkpoints.ultravisor import count_columns
from pef_kit.core.columns import Slot, SlotMap
from pef_kit.core.runs import NOT_FOUND, U64
from pef_protocol.quantities import PAGE_SIZE, Gfn, SlotId
from pef_protocol.states import UvGfnState
from pef_ultravisor.gfn.columns import IMPORTED, FrameSlot
from pef_ultravisor.memory.frames import Frames


def words(number: int) -> U64:
    """Return one number as a column of a message."""
    return np.array([number], np.uint64)


def test_slots_are_held_instead_of_those_before() -> None:
    held = SlotMap[Slot]()
    for slot_id, first, count in ((0, 0, 3), (1, 3, 2), (2, 9, 4)):
        held.add(Slot(SlotId(slot_id), Gfn(first), count))
    last, middle, first_slot = held
    hold(held, [last, first_slot])
    assert list(held) == [last, first_slot]
    assert held.locate(words(3 * PAGE_SIZE), words(1)).tolist() == [NOT_FOUND]
    hold(held, [last, middle, first_slot])
    assert held.locate(words(3 * PAGE_SIZE), words(1)).tolist() == [1]


def test_a_slot_counts_what_was_written_to_its_columns() -> None:
    slot = FrameSlot(SlotId(0), Gfn(0), 4, Frames)
    slot.state[:] = (UvGfnState.SHARED, UvGfnState.PAGEDOUT, UvGfnState.SECURE, UvGfnState.SECURE)
    slot.marks[1:3] = IMPORTED
    count_columns(slot)
    assert (slot.absent, slot.imported, slot.imported_absent) == (2, 2, 1)
