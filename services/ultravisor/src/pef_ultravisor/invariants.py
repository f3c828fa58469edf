"""What must always hold of this side: one sentence for each invariant that does not.

Tests look after every step, a running service on demand. What both sides must agree upon is not here.
"""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from pef_kit.core.runs import U64, Mask, isin
from pef_protocol.states import UvGfnState as S
from pef_protocol.states import UvVmState
from pef_ultravisor.gfn.columns import FRAME_POPULATED, IMPORTED, IN_FLIGHT, REQUESTED, FrameSlot
from pef_ultravisor.gfn.table import IS_BACKED, IS_TRANSIENT
from pef_ultravisor.state import Svm, Ultravisor


def broken(uv: Ultravisor) -> list[str]:
    """Return a sentence for each invariant of this side that does not hold."""
    return [*_of_svms(uv), *_of_the_machine(uv)]


def _of_svms(uv: Ultravisor) -> Iterator[str]:
    for svm in uv.svms.values():
        for slot in svm.slots:
            wrong: Counter[str] = Counter()
            wrong["counted as moved out"] = slot.absent - int(np.count_nonzero(slot.state))
            for block in slot.blocks():
                wrong.update(_wrong_in(svm, slot, block))
            for sentence, gfns in wrong.items():
                if gfns:
                    yield f"lpid {svm.lpid} slot {slot.slot_id}: {gfns} GFNs {sentence}"


def _of_the_machine(uv: Ultravisor) -> Iterator[str]:
    backing: list[U64] = []
    for svm in uv.holders:
        for slot in svm.held_slots:
            backing += [
                normal[normal != 0] for block in slot.blocks() if (normal := slot.normal[block]).any()
            ]
    pages = np.concatenate(backing) if backing else np.zeros(0, np.uint64)
    if len(np.unique(pages)) != len(pages):
        yield "a normal page backs two GFNs"
    if uv.normal_pages.used != len(pages):
        yield f"{uv.normal_pages.used} normal pages are taken, {len(pages)} back a GFN"
    if uv.normal_pages.pinned and not any(svm.open_calls for svm in uv.holders):
        yield f"{uv.normal_pages.pinned} normal pages are in flight while no call is open"
    if uv.resident > uv.capacity.secure_pages:
        yield f"{uv.resident} pages are resident in {uv.capacity.secure_pages}"


def _wrong_in(svm: Svm, slot: FrameSlot, block: slice) -> dict[str, int]:
    """Count, for each invariant, the GFNs of a block for which it does not hold."""
    state, filled = slot.state[block], slot.marked(block, FRAME_POPULATED)
    backed = slot.normal[block] != 0
    out = isin(state, S.PAGEDOUT)
    kept_shared = isin(state, S.SHARED, S.SHARED_INV, S.SHARED_IMPLICIT, S.SHARED_IMPLICIT_INV)
    mapped = isin(state, S.SHARED, S.SHARED_IMPLICIT, S.PSEUDO_SHARED, S.HV_SHARED)
    rules: dict[str, Mask] = {
        "paged out without a sealing record": out & (slot.counter[block] == 0) if out.any() else out,
        "paged out, yet its frame is not scrubbed": out & filled,
        "shared, yet its frame is not scrubbed": kept_shared & filled,
        "mapped to no normal page": mapped & ~backed,
        "mapped to a normal page that it may not have": ~IS_BACKED[state] & backed,
    }
    if not svm.open_calls:
        rules["in a transient state while no call is open"] = IS_TRANSIENT[state]
        rules["marked in flight while no call is open"] = slot.marked(block, IN_FLIGHT | REQUESTED)
    if svm.state is UvVmState.SECURE:
        rules["marked imported in a secure VM"] = slot.marked(block, IMPORTED)
    return {sentence: int(np.count_nonzero(mask)) for sentence, mask in rules.items()}
