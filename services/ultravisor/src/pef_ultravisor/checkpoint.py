"""Checkpoints of the Ultravisor: all that this side must not forget, as one plain value.

A checkpoint is tuples of numbers, strings and bytes: it can be compared, hashed and pickled. It may be
taken at any moment, in the middle of calls too, where it tells the marks that they have set.

Not in it: what pages hold. Frames and normal memory stay as they are, and whoever restores puts back every
page that has changed since. Nor the machine's settings, its own keys and its source of entropy.

Order: restore only where no operation of the machine is alive. One that is suspended must be closed before,
for what it does at its end would be done to the restored state.

Trust: a checkpoint holds the keys of SVMs and what their owners attached. It stays in the process that made
it and is for explorers and tests; no door of the service gives one out.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from pef_kit.core.lease import Life
from pef_protocol.designs import Design
from pef_protocol.identity import Incarnation
from pef_protocol.quantities import Gfn, Lpid, SlotId
from pef_protocol.states import UvVmState
from pef_ultravisor.frames import FrameSlot, Svm
from pef_ultravisor.sealing import Sealer, SealerRecord
from pef_ultravisor.secure_memory import Frames

STATES: Final = tuple(UvVmState)
DESIGNS: Final = {design.value: design for design in Design}


class SlotRecord(NamedTuple):
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
    slots: tuple[SlotRecord, ...]

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
    promised: int
    clock_hand: tuple[int, int, int]


def svm_record(svm: Svm) -> SvmRecord:
    """Return an SVM as a plain value."""
    return SvmRecord(
        int(svm.lpid),
        int(svm.state),
        svm.design.value,
        svm.done_outstanding,
        svm.whole,
        svm.open_calls,
        tuple(sorted((name, bytes(content)) for name, content in svm.files.items())),
        tuple(sorted(svm.handed_out.items())),
        svm.sealer.record,
        tuple([slot_record(slot) for slot in svm.slots]),
    )


def slot_record(slot: FrameSlot) -> SlotRecord:
    """Return a slot with its columns as a plain value."""
    return SlotRecord(
        slot.slot_id,
        slot.first,
        slot.count,
        slot.state.tobytes(),
        slot.marks.tobytes(),
        slot.normal.tobytes(),
        slot.counter.tobytes(),
        slot.tag.tobytes(),
    )


class _Columns(NamedTuple):
    """A slot and flat views of its columns, by which they are written at once."""

    slot: FrameSlot
    state: memoryview
    marks: memoryview
    normal: memoryview
    counter: memoryview
    tag: memoryview


class Spares:
    """SVMs, slots and sealers that a machine has had, to be used again: for who restores often.

    A slot used again keeps its frames, and a sealer its cipher: nothing is mapped anew.
    """

    def __init__(self) -> None:
        self._svms: dict[tuple[int, int], Svm] = {}
        self._slots: dict[tuple[int, int, int, int, int], _Columns] = {}
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
        svm.design = DESIGNS[record.design]
        svm.done_outstanding = record.done_outstanding
        svm.whole = record.whole
        svm.life = Life(f"the SVM of lpid {lpid}", alive=not dying)
        svm.open_calls = record.open_calls
        svm.files = {name: bytearray(content) for name, content in record.files}
        svm.handed_out = dict(record.handed_out)
        svm.slots.hold([self._slot((lpid, dying), slot, now, frames) for slot in record.slots])
        return svm

    def _sealer(
        self, lpid: Lpid, record: SealerRecord, make: Callable[[Lpid, bytes, bytes], Sealer]
    ) -> Sealer:
        key = lpid, record.key, record.fixed
        sealer = self._sealers.get(key)
        if sealer is None:
            sealer = self._sealers[key] = make(lpid, record.key, record.fixed)
        sealer.rewind(record.used)
        return sealer

    def _slot(
        self, owner: tuple[int, int], record: SlotRecord, now: Svm | None, frames: Callable[[int], Frames]
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
        columns.slot.count_anew()
        return columns.slot


def _columns(record: SlotRecord, now: FrameSlot | None, frames: Callable[[int], Frames]) -> _Columns:
    """Return the columns of the slot that is there `now`, if it is the record's, else of a new one."""
    slot = now
    if slot is None or (slot.first, slot.count) != (record.first, record.pages):
        slot = FrameSlot(SlotId(record.slot_id), Gfn(record.first), record.pages, frames)
    columns = (slot.normal.view(np.uint8), slot.counter.view(np.uint8), slot.tag.reshape(-1))
    return _Columns(slot, slot.state.data, slot.marks.data, *(column.data for column in columns))
