"""Scenes for tests of the Ultravisor: a machine, secure VMs, and GFNs put into any state by their columns."""

import random
from collections.abc import Callable
from typing import Final

import numpy as np

from harness.scripted_hypervisor import NORMAL_PAGES, ScriptedHypervisor
from pef_protocol.codes import UCode
from pef_protocol.designs import Design
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, Lpid
from pef_protocol.states import UvGfnState as S
from pef_protocol.states import UvVmState
from pef_ultravisor import invariants
from pef_ultravisor.gfn.columns import FRAME_POPULATED, FrameSlot
from pef_ultravisor.state import Capacity, Svm, Ultravisor

LPID: Final = 1
ZERO: Final = bytes(PAGE_SIZE)
SLOT: Final = (0, 16, 8)
"""The slot of a VM, if nothing else is said: id, first GFN, GFNs."""

ON_ITS_FRAME: Final = frozenset(
    {S.SECURE, S.PSEUDO_SHARED, S.PSEUDO_SHARED_INV, S.HV_SHARING, S.HV_SHARED, S.HV_SHARED_INV}
)
"""States in which the frame holds what the SVM wrote."""
MAPPED: Final = frozenset({S.SHARED, S.SHARED_IMPLICIT, S.PSEUDO_SHARED, S.HV_SHARED, S.HV_UNSHARING})
"""States in which a normal page backs the GFN."""
TRANSIENT: Final = frozenset(state for state in S if state.name.startswith("HV_"))
LETTERS: Final = {S.SECURE: "S", S.PAGEDOUT: "P", S.HV_SHARING: "S"}


def text(word: str) -> bytes:
    """Return a page full of a word."""
    return (word.encode() + b" ").ljust(64, b".") * (PAGE_SIZE // 64)


def machine(
    secure_pages: int = 256,
    designs: frozenset[Design] = frozenset(Design),
    entropy: Callable[[int], bytes] | None = None,
) -> ScriptedHypervisor:
    """Return a machine without a VM: an Ultravisor and the Hypervisor that drives it."""
    capacity = Capacity(secure_pages, NORMAL_PAGES << PAGE_ORDER)
    return ScriptedHypervisor(Ultravisor(capacity, entropy or random.Random(7).randbytes, designs=designs))


def svm_of(hv: ScriptedHypervisor, lpid: int = LPID) -> Svm:
    """Return the SVM of that lpid, which must be there."""
    svm = hv.uv.svm(lpid)
    assert svm is not None
    return svm


def secure_vm(hv: ScriptedHypervisor, lpid: int = LPID, *slots: tuple[int, int, int]) -> Svm:
    """Make a VM of slots (id, first GFN, GFNs) that is secure already, without UV_ESM."""
    svm = active_vm(hv, lpid, *slots)
    for slot in hv.vms[lpid].slots:
        hv.vms[lpid].letters.update(dict.fromkeys(range(slot.first, slot.first + slot.count), "S"))
    svm.state, svm.whole = UvVmState.SECURE, True
    return svm


def active_vm(hv: ScriptedHypervisor, lpid: int = LPID, *slots: tuple[int, int, int]) -> Svm:
    """Make a VM whose slots are registered and whose UV_ESM stands still."""
    hv.new_vm(lpid, *(slots or (SLOT,)))
    svm = hv.uv.new_svm(Lpid(lpid))
    for slot in hv.vms[lpid].slots:
        assert hv.register(lpid, slot).code is UCode.U_SUCCESS
    return svm


def place(hv: ScriptedHypervisor, gfn: int) -> tuple[FrameSlot, int]:
    """Return the slot that holds a GFN of VM 1, and the GFN's offset in it."""
    slot = svm_of(hv).slots.holding(gfn)
    assert slot is not None
    return slot, gfn - slot.first


def state_of(hv: ScriptedHypervisor, gfn: int) -> S:
    """Return the state of a GFN of VM 1."""
    slot, at = place(hv, gfn)
    return S(int(slot.state[at]))


def frame_of(hv: ScriptedHypervisor, gfn: int) -> bytes:
    """Return the bytes of the frame of a GFN of VM 1."""
    slot, at = place(hv, gfn)
    return slot.frames.at(at, PAGE_SIZE).tobytes()


def mapped(hv: ScriptedHypervisor, gfn: int) -> int:
    """Return the real address that backs a GFN of VM 1, or 0."""
    slot, at = place(hv, gfn)
    return int(slot.normal[at])


def write_frame(hv: ScriptedHypervisor, gfn: int, content: bytes) -> None:
    """Let the frame of a GFN of VM 1 hold one page of content."""
    slot, at = place(hv, gfn)
    slot.frames.at(at, PAGE_SIZE)[:] = np.frombuffer(content, np.uint8)
    slot.mark(slice(at, at + 1), FRAME_POPULATED)


def put(hv: ScriptedHypervisor, gfn: int, state: S, *, frame: bytes = ZERO, page: bytes = ZERO) -> None:
    """Put a GFN of VM 1 into a state by its columns, on both sides.

    `frame` is what its frame holds, where the state has anything in it (for PAGEDOUT: what was sealed),
    `page` what its normal page holds.
    """
    slot, at = place(hv, gfn)
    ra = hv.ra(LPID, gfn)
    slot.scrub(np.array([at]))
    if frame != ZERO and (state in ON_ITS_FRAME or state is S.PAGEDOUT):
        write_frame(hv, gfn, frame)
    if state is S.PAGEDOUT:
        assert hv.page_out(LPID, gfn).code is UCode.U_SUCCESS
        return
    letter = LETTERS.get(state, "H")
    hv.vms[LPID].letters[gfn] = letter
    if letter == "H":
        hv.fill(ra, page)
    if state in MAPPED:
        slot.normal[at] = ra
        hv.uv.normal_pages.take(slot.normal[at : at + 1])
    if state in TRANSIENT:
        svm_of(hv).open_calls += 1
        slot.calls_in_flight += 1
    slot.put(slice(at, at + 1), state)


def sound(hv: ScriptedHypervisor) -> bool:
    """Tell whether every invariant of the Ultravisor holds; say which does not."""
    broken = invariants.broken(hv.uv)
    assert broken == []
    return True
