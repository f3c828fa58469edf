"""Loads and stores of an SVM: they resolve, fault pages back in, or fail.

A secure page is its frame; a shared page is the normal page behind it; a page that was paged out or
invalidated is brought back by the Hypervisor first, and the access goes on as if nothing had been.

Trust: what a load returns goes to the guest that made it, and to nobody else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from pef_kit.core.effects import Offload, Operation, PeerFailure, Transfer
from pef_kit.core.runs import U8, Mask, isin, run_starts
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, Gpa
from pef_protocol.states import UvVmState
from pef_ultravisor.gfn.columns import (
    BUSY,
    FRAME_POPULATED,
    REFERENCED,
    FrameSlot,
    Gfns,
    GfnSets,
    normal_pages_of,
    picked,
)
from pef_ultravisor.gfn.table import Action, Event
from pef_ultravisor.in_flight import in_flight
from pef_ultravisor.state import Svm, Ultravisor
from pef_ultravisor.to_hypervisor.faults import FaultError, any_of, require_running, resolve_fault

STRIDE: Final = 64
"""Pages that an access has in flight at once."""
AT_ONCE: Final = PAGE_SIZE
"""Bytes that are copied at once; more are copied in a thread."""


class AccessFailure(Exception):
    """A load or store that fails: the reason, and the guest physical address at which it does."""

    def __init__(self, reason: str, gpa: Gpa) -> None:
        super().__init__(reason)
        self.reason = reason
        self.gpa = gpa


@dataclass(frozen=True, slots=True)
class Access:
    """A load into `content`, or a store of it, at guest physical address `gpa`."""

    gpa: Gpa
    content: U8
    stores: bool
    ignore_deadline: bool = False

    def pieces(self, secure_pages: int) -> "list[Access]":
        """Cut the access at page boundaries, each of few pages beside the `secure_pages` of the machine."""
        most = max(1, min(STRIDE, secure_pages // 4))
        pieces: list[Access] = []
        at = 0
        while at < len(self.content):
            gpa = Gpa(self.gpa + at)
            room = (most << PAGE_ORDER) - gpa % PAGE_SIZE
            pieces.append(Access(gpa, self.content[at : at + room], self.stores, self.ignore_deadline))
            at += room
        return pieces

    def resolve(self, uv: Ultravisor, svm: Svm) -> Operation[None]:
        """Perform the access once its pages are there; raise AccessFailure where they can't be."""
        first = self.gpa >> PAGE_ORDER
        count = -(-(self.gpa % PAGE_SIZE + len(self.content)) >> PAGE_ORDER)
        gfn_sets = svm.slots.covered(first, count)
        if gfn_sets is None:
            raise AccessFailure("no slot", self.gpa)
        try:
            judgements = yield from resolve_fault(
                uv, svm, gfn_sets, Event.TOUCH, ignore_deadline=self.ignore_deadline
            )
            if any_of(judgements, Action.DENY):
                raise AccessFailure("the Ultravisor's own bounce page", self.gpa)
            shared = [isin(judgement.action, Action.USE_NORMAL) for judgement in judgements]
            yield from _pinned(uv, svm, gfn_sets, shared, self)
            require_running(svm)
        except (FaultError, PeerFailure) as reason:
            raise AccessFailure(str(reason), self.gpa) from None

    def copy(self, start: int, memory: U8) -> None:
        """Copy between `memory` and the content from byte `start`, whichever way the access goes."""
        mine = self.content[start : start + len(memory)]
        np.copyto(memory, mine) if self.stores else np.copyto(mine, memory)


def require_secure(svm: Svm | None, gpa: Gpa) -> Svm:
    """Return the SVM that accesses `gpa`; raise AccessFailure where it is none, or not a secure one."""
    if svm is None or svm.state is not UvVmState.SECURE:
        raise AccessFailure("aborted" if svm and svm.state is UvVmState.ABORT else "not secure", gpa)
    return svm


def _pinned(
    uv: Ultravisor, svm: Svm, gfn_sets: GfnSets, shared: list[Mask], access: Access
) -> Operation[None]:
    """Copy while no GFN of the access can be moved, for each was judged before the first is copied.

    `shared` has a mask per set: which GFNs are normal pages.
    """
    for gfns in gfn_sets:
        gfns.slot.mark(gfns.selection, REFERENCED)
    with in_flight(uv, svm, BUSY, gfn_sets, pages=normal_pages_of(picked(gfn_sets, shared))):
        for gfns, over_the_bus in zip(gfn_sets, shared, strict=True):
            yield from _move(gfns, over_the_bus, access)


def _move(gfns: Gfns, shared: Mask, access: Access) -> Operation[None]:
    """Copy the part of an access that lies in `gfns`; `shared` tells which GFNs are normal pages."""
    slot, begin = gfns.slot, int(gfns.offsets[0])
    for first, count in zip(*run_starts(len(shared), (shared.view(np.uint8), 0)), strict=True):
        offset = begin + int(first)
        lowest = max(access.gpa, slot.first + offset << PAGE_ORDER)
        end = min(access.gpa + len(access.content), slot.first + offset + int(count) << PAGE_ORDER)
        within = lowest - (slot.first + offset << PAGE_ORDER)
        start = lowest - access.gpa
        if shared[first]:
            yield _over_the_bus(slot, offset, within, end - lowest, start, access)
            continue
        if access.stores:
            slot.mark(slice(offset, offset + int(count)), FRAME_POPULATED)
        copy = _in_frames(slot, offset, within, end - lowest, start, access)
        if end - lowest > AT_ONCE:
            yield Offload(copy)
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
    for first, count in zip(*run_starts(len(addresses), (addresses, PAGE_SIZE)), strict=True):
        low = within if first == 0 else 0
        high = min(int(count) << PAGE_ORDER, within + length - (int(first) << PAGE_ORDER))
        pieces.append((int(addresses[first]) + low, high - low))
    starts = np.cumsum([0] + [size for _, size in pieces])

    def each(index: int, at: int, view: memoryview) -> None:
        access.copy(start + int(starts[index]) + at, np.frombuffer(view, np.uint8))

    return Transfer(pieces, each, access.stores)
