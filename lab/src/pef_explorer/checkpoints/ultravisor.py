"""Checkpoints of the Ultravisor: its whole state but the bytes of pages, as one plain value.

A checkpoint is tuples of numbers, strings and bytes: it can be compared, hashed and pickled. It may be
taken at any moment. In the middle of calls it has the marks that these have set.

Not in it: what pages hold. Frames and normal memory stay as they are; the caller of `restore` puts back
every page that has changed since. Nor the machine's settings, its own keys and its source of entropy.

Order: restore only where no operation of the machine is alive. A suspended one must be closed before,
for what it does at its end would be done to the restored state.

Trust: a checkpoint holds the keys of SVMs and what their owners attached, and `restore` makes a sealer use
the same IVs again. It is for the explorer and tests alone: no service has this module.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from pef_explorer.checkpoints.slots import hold
from pef_kit.core.life import Life
from pef_protocol.designs import DesignName
from pef_protocol.identity import Incarnation
from pef_protocol.quantities import Gfn, Lpid, SlotId
from pef_protocol.states import UvVmState
from pef_ultravisor.gfn.columns import IMPORTED, FrameSlot
from pef_ultravisor.memory.frames import Frames
from pef_ultravisor.memory.sealing import Sealer
from pef_ultravisor.state import Svm, Ultravisor

STATES: Final = tuple(UvVmState)


class SealerRecord(NamedTuple):
    """The state of a sealer. Trust: it holds the key, which its repr does not show."""

    key: bytes
    fixed: bytes
    used: int

    def __repr__(self) -> str:
        return f"SealerRecord(used={self.used})"


class UvSlotRecord(NamedTuple):
    """A memory slot; its columns are bytes, one a GFN, but eight of `normal` and `counter`, 16 of `tag`."""

    slot_id: int
    first: int
    pages: int
    state: bytes
    marks: bytes
    normal: bytes
    counter: bytes
    tag: bytes


class SvmRecord(NamedTuple):
    """An SVM. `files` and `handed_out` are pairs by name; `slots` go by descending first GFN."""

    lpid: int
    state: int
    design: str
    done_outstanding: bool
    whole: bool
    open_calls: int
    files: tuple[tuple[str, bytes], ...]
    handed_out: tuple[tuple[str, int], ...]
    sealer: SealerRecord
    slots: tuple[UvSlotRecord, ...]

    def __repr__(self) -> str:
        shown = self._asdict()
        shown["files"] = tuple(name for name, _ in self.files)
        return f"SvmRecord({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


class UvCheckpoint(NamedTuple):
    """The whole side: entries and incarnations by lpid, SVMs and those not scrubbed yet, and the counts."""

    pates: tuple[tuple[int, tuple[int, int]], ...]
    incarnations: tuple[tuple[int, Incarnation], ...]
    minted: int
    svms: tuple[SvmRecord, ...]
    dying: tuple[SvmRecord, ...]
    reserved: int
    clock_hand: tuple[int, int, int]


def checkpoint(uv: Ultravisor) -> UvCheckpoint:
    """Return the state of this side as a plain value."""
    return UvCheckpoint(
        tuple(sorted(uv.pates.items())),
        tuple(sorted(uv.incarnations.items())),
        uv._minted,
        tuple([svm_record(uv.svms[lpid]) for lpid in sorted(uv.svms)]),
        tuple([svm_record(svm) for svm in uv.dying]),
        uv.reserved,
        uv.clock_hand,
    )


def restore(uv: Ultravisor, saved: UvCheckpoint, spares: "UvSpares | None" = None) -> None:
    """Put this side back, but for the bytes of pages.

    A caller that restores often keeps `spares`. Raise NoSecureMemory where the frames of a
    slot can't be had again.
    """
    spares = UvSpares() if spares is None else spares
    svms = [spares.svm(record, uv.svm(record.lpid), uv.frames, uv.sealer) for record in saved.svms]
    uv.dying = [
        spares.svm(record, None, uv.frames, uv.sealer, dying=place)
        for place, record in enumerate(saved.dying, 1)
    ]
    uv.svms.clear()
    uv.svms.update((svm.lpid, svm) for svm in svms)
    uv.pates.clear()
    uv.pates.update((Lpid(lpid), words) for lpid, words in saved.pates)
    uv.incarnations.clear()
    uv.incarnations.update((Lpid(lpid), named) for lpid, named in saved.incarnations)
    uv._minted = saved.minted
    for svm in svms:
        svm.life.incarnation = uv.incarnation_of(svm.lpid)
    uv.reserved = saved.reserved
    uv.clock_hand = saved.clock_hand
    uv.normal_pages._backing.fill(0)
    uv.normal_pages._pins.fill(0)
    for svm in uv.holders:
        for slot in svm.slots:
            if np.count_nonzero(slot.normal):
                uv.normal_pages.take(slot.normal[slot.normal != 0])


def svm_record(svm: Svm) -> SvmRecord:
    """Return an SVM as a plain value."""
    return SvmRecord(
        int(svm.lpid),
        int(svm.state),
        str(svm.design),
        svm.done_outstanding,
        svm.whole,
        svm.open_calls,
        tuple(sorted((name, bytes(content)) for name, content in svm.files.items())),
        tuple(sorted(svm.handed_out.items())),
        sealer_record(svm.sealer),
        tuple([slot_record(slot) for slot in svm.slots]),
    )


def sealer_record(sealer: Sealer) -> SealerRecord:
    """Return a sealer as a plain value."""
    return SealerRecord(sealer._key, sealer._fixed, sealer._last)


def rewind(sealer: Sealer, used: int) -> None:
    """Put a sealer back to where it had used `used` IVs: it uses the later ones again."""
    sealer._last = used


def count_columns(slot: FrameSlot) -> None:
    """Set the counts of a slot from its columns; no batch of pages is under way."""
    slot.calls_in_flight = 0
    slot.absent = int(np.count_nonzero(slot.state))
    imported = slot.marked(slice(None), IMPORTED)
    slot.imported = int(np.count_nonzero(imported))
    slot.imported_absent = int(np.count_nonzero(slot.state[imported])) if slot.imported else 0


def slot_record(slot: FrameSlot) -> UvSlotRecord:
    """Return a slot with its columns as a plain value."""
    return UvSlotRecord(
        slot.slot_id,
        slot.first,
        slot.count,
        slot.state.tobytes(),
        slot.marks.tobytes(),
        slot.normal.tobytes(),
        slot.counter.tobytes(),
        slot.tag.tobytes(),
    )


class _UvColumns(NamedTuple):
    """A slot and flat views of its columns, by which they are written at once."""

    slot: FrameSlot
    state: memoryview
    marks: memoryview
    normal: memoryview
    counter: memoryview
    tag: memoryview


class UvSpares:
    """SVMs, slots and sealers that a machine has had, which are used again.

    A slot used again keeps its frames, and a sealer its cipher: nothing is mapped anew.
    """

    def __init__(self) -> None:
        self._svms: dict[tuple[int, int], Svm] = {}
        self._slots: dict[tuple[int, int, int, int, int], _UvColumns] = {}
        self._sealers: dict[tuple[int, bytes, bytes], Sealer] = {}

    def svm(
        self,
        record: SvmRecord,
        now: Svm | None,
        frames: Callable[[int], Frames],
        sealer: Callable[[Lpid, bytes, bytes], Sealer],
        dying: int = 0,
    ) -> Svm:
        """Return the SVM of a record, whose slots are those that it has `now` as far as they are the same.

        `dying`: its place among the SVMs that have ended, from 1; 0 where it has not.
        """
        lpid = Lpid(record.lpid)
        svm = self._svms.get((lpid, dying))
        if svm is None:
            svm = self._svms[lpid, dying] = now or Svm(lpid, self._sealer(lpid, record.sealer, sealer))
        svm.sealer = self._sealer(lpid, record.sealer, sealer)
        svm.state = STATES[record.state]
        svm.design = DesignName(record.design)
        svm.done_outstanding = record.done_outstanding
        svm.whole = record.whole
        svm.life = Life(f"the SVM of lpid {lpid}", alive=not dying)
        svm.open_calls = record.open_calls
        svm.files = {name: bytearray(content) for name, content in record.files}
        svm.handed_out = dict(record.handed_out)
        hold(svm.slots, [self._slot((lpid, dying), slot, now, frames) for slot in record.slots])
        return svm

    def _sealer(
        self, lpid: Lpid, record: SealerRecord, make: Callable[[Lpid, bytes, bytes], Sealer]
    ) -> Sealer:
        key = lpid, record.key, record.fixed
        sealer = self._sealers.get(key)
        if sealer is None:
            sealer = self._sealers[key] = make(lpid, record.key, record.fixed)
        rewind(sealer, record.used)
        return sealer

    def _slot(
        self, owner: tuple[int, int], record: UvSlotRecord, now: Svm | None, frames: Callable[[int], Frames]
    ) -> FrameSlot:
        key = *owner, record.slot_id, record.first, record.pages
        columns = self._slots.get(key)
        if columns is None:
            columns = self._slots[key] = _columns(
                record, now.slots.get(record.slot_id) if now else None, frames
            )
        columns.state[:] = record.state
        columns.marks[:] = record.marks
        columns.normal[:] = record.normal
        columns.counter[:] = record.counter
        columns.tag[:] = record.tag
        count_columns(columns.slot)
        return columns.slot


def _columns(record: UvSlotRecord, now: FrameSlot | None, frames: Callable[[int], Frames]) -> _UvColumns:
    """Return the columns of the slot that is there `now`, if it is the record's, else of a new one."""
    slot = now
    if slot is None or (slot.first, slot.count) != (record.first, record.pages):
        slot = FrameSlot(SlotId(record.slot_id), Gfn(record.first), record.pages, frames)
    columns = (slot.normal.view(np.uint8), slot.counter.view(np.uint8), slot.tag.reshape(-1))
    return _UvColumns(slot, slot.state.data, slot.marks.data, *(column.data for column in columns))
