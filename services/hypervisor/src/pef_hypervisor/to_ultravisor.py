"""What this side asks of the Ultravisor: single calls with patience, and pages in flight.

Trust: the Ultravisor may refuse, be down, or answer nonsense. Nothing of ours has changed until it accepted,
so there is nothing to undo but the marks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from pef_hypervisor.frames import MOVING, Vm, VmSlot
from pef_kit.operations import Operation, Pause, PeerFailure, ask
from pef_kit.spans import I64, U8, Mask, among, breaks, columns_of, spread, words_of
from pef_protocol.calls import CALLS, Reply
from pef_protocol.codes import Code, HCode, UCode
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE
from pef_protocol.runs import PageRuns, PlacedRuns
from pef_protocol.ultracalls import PageIn, PageInval, PageOut

RUNS_AT_ONCE: Final = 1 << 20
"""Runs that one message carries."""
PEER: Final = "ultravisor"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of an ultracall: its code, or None where there was no answer; a sentence for people."""

    code: Code | None
    detail: str

    @property
    def succeeded(self) -> bool:
        """Tell whether the call did what was asked."""
        return self.code is UCode.U_SUCCESS


def try_once(name: str, request: object) -> Operation[Answer]:
    """Make an ultracall and say what came of it."""
    try:
        reply = yield from ask(name, request)
    except PeerFailure as failure:
        return Answer(None, str(failure))
    return Answer(reply.code, f"{name}: {reply.code.name} {reply.detail}".rstrip())


def insist(name: str, request: object) -> Operation[Answer]:
    """Make an ultracall; while it is answered with U_BUSY, try again as long as there is time."""
    answer = yield from try_once(name, request)
    for attempt in count():
        if answer.code is not UCode.U_BUSY or not (yield Pause(attempt)):
            break
        answer = yield from try_once(name, request)
    return answer


@dataclass(frozen=True, slots=True)
class Part:
    """GFNs of one slot: offsets (pages) and the states that they get, an element each."""

    slot: VmSlot
    offsets: I64
    then: U8


@dataclass(frozen=True, slots=True)
class Leg:
    """What came of a part: an element a GFN.

    `ours`: it still bears the flight's mark. `unheard`: nobody answered, so the call may have been done.
    `named`: the answer speaks of single GFNs; else its code is about the call as a whole.
    """

    slot: VmSlot
    offsets: I64
    then: U8
    before: U8
    codes: NDArray[np.int16]
    ours: Mask
    unheard: Mask
    named: Mask

    @property
    def done(self) -> Mask:
        """Mark the GFNs that the Ultravisor accepted."""
        done: Mask = self.codes == 0
        return done

    @property
    def refused(self) -> Mask:
        """Mark those that it refused for good."""
        return self.ours & ~self.done


class Flight:
    """GFNs of one VM that a call has in flight: marked so, from entering to leaving.

    `codes` has a return code a GFN, in the order of the parts; `failure` says why there was no answer.
    """

    def __init__(self, vm: Vm, parts: Sequence[Part]) -> None:
        self.vm = vm
        self.parts = [part for part in parts if len(part.offsets)]
        empty = [np.zeros(0, np.int64)]
        self.gfns: I64 = np.concatenate([part.offsets + part.slot.first for part in self.parts] or empty)
        self.ras: I64 = np.concatenate([part.slot.places(part.offsets) for part in self.parts] or empty)
        self.codes = np.zeros(len(self.gfns), np.int16)
        self.failure = ""
        self._ours = np.zeros(len(self.gfns), np.bool_)
        self._unheard = np.zeros(len(self.gfns), np.bool_)
        self._named = np.zeros(len(self.gfns), np.bool_)
        self._part_of = np.repeat(np.arange(len(self.parts)), [len(part.offsets) for part in self.parts])
        self._before = [part.slot.state[part.offsets] for part in self.parts]

    def __enter__(self) -> Self:
        for part in self.parts:
            part.slot.mark(part.offsets, MOVING)
        self._ours[:] = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._let_go(self._ours)

    def __len__(self) -> int:
        return len(self.gfns)

    def legs(self) -> Iterator[Leg]:
        """Yield each part with what came of it."""
        for (part, piece), before in zip(self._pieces(), self._before, strict=True):
            came = self.codes[piece], self._ours[piece], self._unheard[piece], self._named[piece]
            yield Leg(part.slot, part.offsets, part.then, before, *came)

    def _pieces(self) -> Iterator[tuple[Part, slice]]:
        start = 0
        for part in self.parts:
            yield part, slice(start, start + len(part.offsets))
            start += len(part.offsets)

    def _let_go(self, mask: Mask) -> None:
        for part, piece in self._pieces():
            part.slot.unmark(part.offsets[mask[piece]], MOVING)
        self._ours &= ~mask

    def _take_again(self, mask: Mask) -> Mask:
        """Mark once more those GFNs that are still as they were; return which."""
        taken = np.zeros(len(self), np.bool_)
        for (part, piece), before in zip(self._pieces(), self._before, strict=True):
            if self.vm.slots.get(part.slot.slot_id) is not part.slot:
                continue
            same = part.slot.state[part.offsets] == before
            taken[piece] = mask[piece] & same & ~part.slot.marked(part.offsets, MOVING)
            part.slot.mark(part.offsets[taken[piece]], MOVING)
        self._ours |= taken
        return taken

    def send(self, name: str) -> Operation[None]:
        """Send the GFNs by ultracall `name`, in as few messages as there can be, and note their codes.

        What is answered with U_BUSY is let go, and sent again after a while, as long as there is time and it
        is still what it was. Where there is no answer the codes are those of a refusal.
        """
        if not len(self):
            return
        pending = np.ones(len(self), np.bool_)
        for attempt in count():
            yield from self._send_once(name, pending.nonzero()[0])
            busy = self._ours & among(self.codes, UCode.U_BUSY)
            if not busy.any():
                return
            self._let_go(busy)
            if not (yield Pause(attempt)):
                return
            pending = self._take_again(busy)
            if not pending.any():
                return

    def _send_once(self, name: str, chosen: I64) -> Operation[None]:
        ras, gfns = self.ras[chosen], self.gfns[chosen]
        # A run lies in one slot, though slots may abut here and there.
        firsts, counts = breaks(len(chosen), (gfns, 1), (ras, PAGE_SIZE), (self._part_of[chosen], 0))
        for start in range(0, len(firsts), RUNS_AT_ONCE):
            some, pages = firsts[start : start + RUNS_AT_ONCE], counts[start : start + RUNS_AT_ONCE]
            sent = slice(int(some[0]), int(some[-1] + pages[-1]))
            request = self._request(name, ras[some], gfns[some] << PAGE_ORDER, pages)
            try:
                reply = yield from ask(name, request)
                self.codes[chosen[sent]] = codes_of(name, reply, gfns[sent])
                self._named[chosen[sent]] = len(reply.refused) > 0
            except PeerFailure as failure:
                self.failure = str(failure)
                self.codes[chosen[int(some[0]) :]] = UCode.U_PARAMETER
                self._unheard[chosen[sent]] = True
                return

    def _request(self, name: str, ras: I64, gpas: I64, counts: I64) -> object:
        lpid = self.vm.lpid
        if name == "UV_PAGE_INVAL":
            return PageInval(lpid, PageRuns(words_of(gpas, counts)), PAGE_ORDER)
        form = {"UV_PAGE_IN": PageIn, "UV_PAGE_OUT": PageOut}[name]
        return form(lpid, PlacedRuns(words_of(ras, gpas, counts)), 0, PAGE_ORDER)

    def detail(self) -> str:
        """Say, for people, what was refused; empty where nothing was."""
        if self.failure or not np.count_nonzero(self.codes):
            return self.failure
        refused = np.unique(self.codes[self.codes != 0]).tolist()
        return ", ".join(UCode(code).name for code in refused)


def codes_of(name: str, reply: Reply, gfns: I64) -> NDArray[np.int16]:
    """Return the code of each of the `gfns` that a message carried.

    Raise PeerFailure where the reply makes no sense.
    """
    codes = np.zeros(len(gfns), np.int16)
    if not len(reply.refused):
        codes[:] = reply.code
        return codes
    gpas, counts, words = columns_of(reply.refused)
    numbers = words.view(np.int64)
    known = np.isin(numbers, [code for code in CALLS[name].codes if not code.succeeded]).all()
    if not known or (counts > len(gfns)).any() or int(counts.sum()) > len(gfns):
        raise PeerFailure(name, PEER, "its refused runs are not those of an answer")
    pages = counts.astype(np.int64)
    refused = spread((gpas >> np.uint64(PAGE_ORDER)).astype(np.int64), pages, 1)
    order = np.argsort(gfns, kind="stable")
    at = order[np.minimum(np.searchsorted(gfns, refused, sorter=order), len(gfns) - 1)]
    if (gfns[at] != refused).any():
        raise PeerFailure(name, PEER, "it refuses runs that it was not sent")
    codes[at] = np.repeat(numbers, pages)
    return codes


def as_hypercall_code(codes: NDArray[np.int16]) -> NDArray[np.int16]:
    """Turn codes of ultracalls into those by which a hypercall tells of them: busy stays busy."""
    if not np.count_nonzero(codes):
        return np.zeros(len(codes), np.int16)
    told = np.where(among(codes, UCode.U_BUSY), HCode.H_BUSY, HCode.H_PARAMETER)
    return np.where(codes == 0, HCode.H_SUCCESS, told).astype(np.int16)
