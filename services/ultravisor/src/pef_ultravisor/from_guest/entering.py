"""A UV_ESM under way, phase by phase; between two phases it is an object and nothing runs.

A phase is one step, or, after a step that failed, the way back to a normal VM. The call that owns it runs the
phases one after the other; who wants to stop between two, or to take a copy of where it stands, can.

Source: decisions, "UV_ESM errors", "H_SVM_INIT_ABORT".
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self, TypeAlias

import numpy as np

from pef_kit.core.lease import Ended
from pef_kit.operations import Operation, PeerFailure
from pef_kit.parts import part_by_part
from pef_kit.spans import I64, among
from pef_protocol.calls import Reply
from pef_protocol.codes import HCode, UCode
from pef_protocol.hypercalls import SvmInitAbort
from pef_protocol.states import UvGfnState as S
from pef_protocol.states import UvVmState
from pef_protocol.ultracalls import Esm
from pef_ultravisor.boot.blob import OpenedBlob
from pef_ultravisor.boot.image import Extent, GuestImage
from pef_ultravisor.boot.pages import EsmFailure
from pef_ultravisor.gfn.columns import IMPORTED, MOVING, FrameSlot, Svm
from pef_ultravisor.leases import end_svm, no_object, under_lease
from pef_ultravisor.memory.copy import Pages, giving_back
from pef_ultravisor.memory.in_flight import in_flight
from pef_ultravisor.state import Ultravisor
from pef_ultravisor.to_hypervisor.calls import Refused, request


@dataclass(frozen=True, slots=True)
class Plan:
    """What the device tree says: where the image lies, and which pages become bounce pages.

    `edited_tree` is the tree as the guest shall find it, with the bounce pages reserved.
    """

    image: GuestImage
    bounce: tuple[Extent, ...]
    edited_tree: bytes


@dataclass(slots=True)
class Entering:
    """A UV_ESM under way: `place` steps are done.

    It stands for a call that `svm.open_calls` counts already; `begin` makes one that is new. `reply` is None
    until it has ended. The last three fields are what the steps of a real image hand on to each other.
    """

    uv: Ultravisor
    svm: Svm
    asked: Esm
    steps: Sequence["Step"]
    place: int = 0
    failure: EsmFailure | None = None
    reply: Reply | None = None
    counted: bool = True
    plan: Plan | None = None
    rtas: bytes = field(default=b"", repr=False)
    blob: OpenedBlob | None = field(default=None, repr=False)

    @classmethod
    def begin(cls, uv: Ultravisor, svm: Svm, asked: Esm, steps: Sequence["Step"]) -> Self:
        """Begin a UV_ESM, and count it as an open call of `svm`."""
        svm.open_calls += 1
        return cls(uv, svm, asked, steps)

    def next_phase(self) -> Operation[None]:
        """Do the next step, or go back where one failed; at the end of either, `reply` is set.

        Either is under a lease on the SVM, with which the call ends. The way back asks for that end itself.
        """
        if self.failure is None:
            yield from under_lease(self.uv, self.svm, self._next_step(), self._over)
            return
        way_back = go_on_as_normal_vm(self.uv, self.svm)
        left = yield from under_lease(self.uv, self.svm, way_back, lambda _: "")
        if not left and self.svm.life.alive:  # else who ended it has it scrubbed
            yield from end_svm(self.uv, self.svm)
        self._end_with(Reply(self.failure.code, detail=f"{self.failure}{left}"))

    def _next_step(self) -> Operation[None]:
        try:
            yield from self.steps[self.place](self)
        except EsmFailure as failure:
            self.failure = EsmFailure(failure.code, str(failure))
            return
        self.place += 1
        if self.place == len(self.steps):
            self._end_with(
                Reply(UCode.U_SUCCESS, {"kernel_base": self.asked.kernel_base, "fdt": self.asked.fdt})
            )

    def _over(self, ended: Ended) -> None:
        self._end_with(no_object("UV_ESM", ended))

    def _end_with(self, reply: Reply) -> None:
        self.reply = reply
        self.end()

    def end(self) -> None:
        """Count it as an open call no longer; once, however often it is said."""
        if self.counted:
            self.counted = False
            self.svm.open_calls -= 1


Step: TypeAlias = Callable[[Entering], Operation[None]]
"""A step of UV_ESM: it ends, or raises EsmFailure."""


def together(*steps: Step) -> Step:
    """Make one step of `steps`: what comes between two phases can't come between them."""

    def in_turn(entering: Entering) -> Operation[None]:
        for step in steps:
            yield from step(entering)

    return in_turn


def go_on_as_normal_vm(uv: Ultravisor, svm: Svm) -> Operation[str]:
    """Have the Hypervisor take the VM back by H_SVM_INIT_ABORT; return what there is to add to the reason.

    Where that is nothing, the SVM is to be ended. A VM that is secure already can't go back: it is aborted
    and waits for UV_SVM_TERMINATE. So does one whose Hypervisor refuses.
    """
    was_secure = svm.state is UvVmState.SECURE
    svm.state = UvVmState.ABORT
    if was_secure:
        return "; the SVM is aborted"
    yield from give_back_shared(uv, svm)
    try:
        yield from request(svm, "H_SVM_INIT_ABORT", SvmInitAbort(svm.lpid), patient=True)
    except Refused as answer:
        if answer.code not in {HCode.H_PARAMETER, HCode.H_UNSUPPORTED}:
            return f"; {answer}: the SVM waits for UV_SVM_TERMINATE"
    return ""


def give_back_shared(uv: Ultravisor, svm: Svm) -> Operation[None]:
    """Give imported pages that were pseudo-shared back to the normal pages behind them, which are zero.

    The other imported pages go back by UV_PAGE_OUT, for which the Hypervisor asks.
    """
    found: list[tuple[FrameSlot, I64]] = []

    def look(slot: FrameSlot, part: slice) -> None:
        shared = among(slot.state[part], S.PSEUDO_SHARED) & slot.marked(part, IMPORTED)
        if shared.any():
            found.append((slot, np.flatnonzero(shared) + part.start))

    yield from part_by_part(svm.slots, look)
    for slot, candidates in found:
        offsets = candidates[~slot.in_flight(candidates)]
        if svm.slots.get(slot.slot_id) is not slot or not len(offsets):
            continue
        addresses = slot.normal[offsets]
        with in_flight(uv, svm, MOVING, [(slot, offsets)], pages=[addresses]), suppress(PeerFailure):
            for some in Pages(slot, offsets, addresses.astype(np.int64)).batches():
                yield giving_back(some)
