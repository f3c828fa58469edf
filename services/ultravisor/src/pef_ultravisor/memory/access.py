"""Loads and stores of an SVM: they resolve, fault pages back in, or fail.

A secure page is its frame; a shared page is the normal page behind it; a page that was paged out or
invalidated is brought back by the Hypervisor first, and the access goes on as if nothing had been.

Trust: what a load returns goes to the guest that made it, and to nobody else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from pef_kit.columns import GfnSet
from pef_kit.core.lease import Ended
from pef_kit.operations import Operation, PeerFailure, Transfer, Work
from pef_kit.spans import U8, Mask, among, breaks
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, Lpid
from pef_protocol.states import UvVmState
from pef_ultravisor.gfn.columns import FILLED, MOVING, REFERENCED, FrameSlot, Svm
from pef_ultravisor.gfn.table import Deed, Event
from pef_ultravisor.leases import under_lease
from pef_ultravisor.memory.in_flight import chosen_in, in_flight, normal_pages_of
from pef_ultravisor.state import Ultravisor
from pef_ultravisor.to_hypervisor.faults import Unsettled, any_of, picked, require_running, settled

STRIDE: Final = 64
"""Pages that an access has in hand at once."""
AT_ONCE: Final = PAGE_SIZE
"""Bytes that are copied at once; more are copied in a thread."""


class AccessFailure(Exception):
    """A load or store that fails: the reason, and the guest physical address at which it does."""

    def __init__(self, reason: str, gpa: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.gpa = gpa


@dataclass(frozen=True, slots=True)
class Access:
    """A load into `content`, or a store of it, at guest physical address `gpa`."""

    gpa: int
    content: U8
    stores: bool
    patient: bool = False

    def pieces(self, most: int) -> "list[Access]":
        """Cut the access at page boundaries, at most `most` pages a piece."""
        pieces: list[Access] = []
        at = 0
        while at < len(self.content):
            gpa = self.gpa + at
            room = (most << PAGE_ORDER) - gpa % PAGE_SIZE
            pieces.append(Access(gpa, self.content[at : at + room], self.stores, self.patient))
            at += room
        return pieces

    def copy(self, start: int, memory: U8) -> None:
        """Copy between `memory` and the content from byte `start`, whichever way the access goes."""
        mine = self.content[start : start + len(memory)]
        np.copyto(memory, mine) if self.stores else np.copyto(mine, memory)


def guest_load(uv: Ultravisor, lpid: Lpid, gpa: int, length: int) -> Operation[memoryview]:
    """Load `length` bytes at `gpa` for the guest `lpid`; raise AccessFailure where it does not resolve."""
    content = bytearray(length)  # numpy would keep the memory of a small array, and what is in it
    yield from _leased(uv, lpid, Access(gpa, np.frombuffer(content, np.uint8), stores=False))
    return memoryview(content)


def guest_store(
    uv: Ultravisor, lpid: Lpid, gpa: int, content: bytes, *, patient: bool = False
) -> Operation[None]:
    """Store `content` at `gpa` for the guest `lpid`; raise AccessFailure where it does not resolve.

    `patient`: a Hypervisor that is busy is waited for as long as it takes.
    """
    return _leased(uv, lpid, Access(gpa, np.frombuffer(content, np.uint8), stores=True, patient=patient))


def _leased(uv: Ultravisor, lpid: Lpid, access: Access) -> Operation[None]:
    def over(ended: Ended) -> None:
        raise AccessFailure(str(ended), access.gpa) from None

    svm = uv.svm(lpid)
    return under_lease(uv, svm, _perform(uv, svm, access), over)


def _perform(uv: Ultravisor, svm: Svm | None, access: Access) -> Operation[None]:
    if svm is None or svm.state is not UvVmState.SECURE:
        raise AccessFailure("aborted" if svm and svm.state is UvVmState.ABORT else "not secure", access.gpa)
    most = max(1, min(STRIDE, uv.capacity.secure_pages // 4))
    for piece in access.pieces(most):
        yield from _resolve(uv, svm, piece)


def _resolve(uv: Ultravisor, svm: Svm, access: Access) -> Operation[None]:
    first = access.gpa >> PAGE_ORDER
    count = -(-(access.gpa % PAGE_SIZE + len(access.content)) >> PAGE_ORDER)
    gfn_sets = svm.slots.covered(first, count)
    if gfn_sets is None:
        raise AccessFailure("no slot", access.gpa)
    try:
        judgements = yield from settled(uv, svm, gfn_sets, Event.TOUCH, patient=access.patient)
        if any_of(judgements, Deed.DENY):
            raise AccessFailure("the Ultravisor's own bounce page", access.gpa)
        shared = [among(judgement.does, Deed.NORMAL) for judgement in judgements]
        yield from _pinned(uv, svm, gfn_sets, shared, access)
        require_running(svm)
    except (Unsettled, PeerFailure) as reason:
        raise AccessFailure(str(reason), access.gpa) from None


def _pinned(
    uv: Ultravisor, svm: Svm, gfn_sets: list[GfnSet[FrameSlot]], shared: list[Mask], access: Access
) -> Operation[None]:
    """Copy while no GFN of the access can be moved, for each was judged before the first is copied.

    `shared` tells, a mask a gfns, which GFNs are normal pages.
    """
    marked = chosen_in(gfn_sets)
    for slot, chosen in marked:
        slot.mark(chosen, REFERENCED)
    with in_flight(uv, svm, MOVING, marked, pages=normal_pages_of(picked(gfn_sets, shared))):
        for gfns, over_the_bus in zip(gfn_sets, shared, strict=True):
            yield from _move(gfns, over_the_bus, access)


def _move(gfns: GfnSet[FrameSlot], shared: Mask, access: Access) -> Operation[None]:
    """Copy the part of an access that lies in `gfns`; `shared` tells which GFNs are normal pages."""
    slot, begin = gfns.slot, int(gfns.offsets[0])
    for first, count in zip(*breaks(len(shared), (shared.view(np.uint8), 0)), strict=True):
        offset = begin + int(first)
        lowest = max(access.gpa, slot.first + offset << PAGE_ORDER)
        end = min(access.gpa + len(access.content), slot.first + offset + int(count) << PAGE_ORDER)
        within = lowest - (slot.first + offset << PAGE_ORDER)
        start = lowest - access.gpa
        if shared[first]:
            yield _over_the_bus(slot, offset, within, end - lowest, start, access)
            continue
        if access.stores:
            slot.mark(slice(offset, offset + int(count)), FILLED)
        copy = _in_frames(slot, offset, within, end - lowest, start, access)
        if end - lowest > AT_ONCE:
            yield Work(copy)
        else:
            copy()


def _in_frames(
    slot: FrameSlot, offset: int, within: int, length: int, start: int, access: Access
) -> Callable[[], None]:
    frames = slot.frames.at(offset, length, within)
    return lambda: access.copy(start, frames)


def _over_the_bus(
    slot: FrameSlot, offset: int, within: int, length: int, start: int, access: Access
) -> Transfer:
    """Return the transfer of `length` bytes from byte `within` of the normal page of GFN `offset` on."""
    addresses = slot.normal[offset : offset + -(-(within + length) >> PAGE_ORDER)].astype(np.int64)
    pieces: list[tuple[int, int]] = []
    for first, count in zip(*breaks(len(addresses), (addresses, PAGE_SIZE)), strict=True):
        low = within if first == 0 else 0
        high = min(int(count) << PAGE_ORDER, within + length - (int(first) << PAGE_ORDER))
        pieces.append((int(addresses[first]) + low, high - low))
    starts = np.cumsum([0] + [size for _, size in pieces])

    def each(index: int, at: int, view: memoryview) -> None:
        access.copy(start + int(starts[index]) + at, np.frombuffer(view, np.uint8))

    return Transfer(pieces, each, access.stores)
