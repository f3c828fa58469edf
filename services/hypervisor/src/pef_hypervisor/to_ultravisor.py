"""What this side asks of the Ultravisor: single calls, and pages in flight.

Every call about an SVM names its incarnation. How a call can end:

| outcome | means |
|---|---|
| an answer | what its code says; a refusal changes nothing, busy means nothing done |
| refused as a message | nothing changed: `UNMADE`, as any refusal |
| it can't be had | nobody knows: the VM must be reset, and nothing else is done for it until then |

Trust: the Ultravisor may refuse, or answer nonsense. Nothing of ours has changed until it accepted, so
there is nothing to undo but the marks.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, pairwise
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pef_hypervisor.frames import MOVING, DevicePool, Reservation, Vm, VmSlot
from pef_hypervisor.in_flight import in_flight
from pef_kit.operations import Ask, Operation, Pause, PeerFailure
from pef_kit.spans import I64, U8, Mask, among, breaks, columns_of, spread, words_of
from pef_protocol.calls import CALLS, Reply
from pef_protocol.codes import Code, HCode, UCode
from pef_protocol.identity import Incarnation
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE
from pef_protocol.runs import PageRuns, PlacedRuns
from pef_protocol.ultracalls import PageIn, PageInval, PageOut
from pef_protocol.wire import PAGES_AT_ONCE, RUNS_AT_ONCE

PEER: Final = "ultravisor"
UNMADE: Final = UCode.U_FUNCTION
"""Stands for an answer where there is none: no success, not busy, and never read as "there is nothing"."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of an ultracall: code, a sentence for people, whether its outcome is `known`, outputs."""

    code: Code
    detail: str
    known: bool = True
    outputs: Mapping[str, int | str] = field(default_factory=dict)

    @property
    def succeeded(self) -> bool:
        """Tell whether the call did what was asked."""
        return self.code is UCode.U_SUCCESS

    @property
    def unmade(self) -> bool:
        """Tell whether the message was refused as a whole, so that nothing was done."""
        return self.known and self.code is UNMADE


def try_once(
    name: str, request: object, vm: Vm | None = None, incarnation: Incarnation | None = None
) -> Operation[Answer]:
    """Make an ultracall for `vm` and say what came of it; `incarnation` is that of the SVM it is about."""
    try:
        reply: Reply = yield Ask(name, request, incarnation)
    except PeerFailure as failure:
        return Answer(UNMADE, note_failure(vm, failure), known=failure.done is False)
    detail = f"{name}: {reply.code.name} {reply.detail}".rstrip()
    return Answer(reply.code, detail, outputs=reply.outputs)


def note_failure(vm: Vm | None, failure: PeerFailure) -> str:
    """Note that `vm` must be reset, where the outcome of a call for it can't be had; return the sentence."""
    if vm is not None and failure.done is not False:
        vm.must_reset = True
    return str(failure)


def insist(
    name: str, request: object, vm: Vm | None = None, incarnation: Incarnation | None = None
) -> Operation[Answer]:
    """Make an ultracall; while it is answered with U_BUSY, try again as long as there is time."""
    answer = yield from try_once(name, request, vm, incarnation)
    for attempt in count():
        if answer.code is not UCode.U_BUSY or not (yield Pause(attempt)):
            break
        answer = yield from try_once(name, request, vm, incarnation)
    return answer


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why an operation on whole slots stopped: a sentence, or "" where nothing stopped it.

    `busy`: it can be tried again, and will go on where it stopped.
    """

    why: str = ""
    busy: bool = False

    def __bool__(self) -> bool:
        return bool(self.why)


@dataclass(frozen=True, slots=True)
class Part:
    """GFNs of one slot: offsets (pages) and the states that they get, an element each."""

    slot: VmSlot
    offsets: I64
    then: U8


@dataclass(frozen=True, slots=True)
class Leg:
    """What came of GFNs of a part: an element a GFN."""

    slot: VmSlot
    offsets: I64
    then: U8
    before: U8
    codes: NDArray[np.int16]

    @property
    def done(self) -> Mask:
        """Mark the GFNs that the Ultravisor accepted."""
        done: Mask = self.codes == 0
        return done

    @property
    def refused(self) -> Mask:
        """Mark those that it refused for good."""
        refused: Mask = ~self.done & ~among(self.codes, UCode.U_BUSY)
        return refused


Land: TypeAlias = Callable[[Leg, Reservation], Operation[None]]
"""Makes of the GFNs of a leg, which bear MOVING, what their codes say."""


class Flight:
    """GFNs of one VM that an ultracall carries, in as few messages as there can be.

    `codes` has a return code a GFN, in the order of the parts. `failure` says why a message as a whole was
    not done: then the codes say nothing of single GFNs.
    """

    def __init__(self, vm: Vm, parts: Sequence[Part]) -> None:
        self.vm = vm
        self.parts = [part for part in parts if len(part.offsets)]
        empty = [np.zeros(0, np.int64)]
        self.gfns: I64 = np.concatenate([part.offsets + part.slot.first for part in self.parts] or empty)
        self.ras: I64 = np.concatenate([part.slot.places(part.offsets) for part in self.parts] or empty)
        self.codes = np.zeros(len(self.gfns), np.int16)
        self.failure = ""
        self._part_of = np.repeat(np.arange(len(self.parts)), [len(part.offsets) for part in self.parts])
        self._before = [part.slot.state[part.offsets] for part in self.parts]

    def __len__(self) -> int:
        return len(self.gfns)

    def legs(self, chosen: Mask | None = None) -> Iterator[Leg]:
        """Yield each part, or its `chosen` GFNs (a mask over all), with what came of it."""
        for (part, piece), before in zip(self._pieces(), self._before, strict=True):
            codes = self.codes[piece]
            if chosen is None:
                yield Leg(part.slot, part.offsets, part.then, before, codes)
            elif (mine := chosen[piece]).any():
                yield Leg(part.slot, part.offsets[mine], part.then[mine], before[mine], codes[mine])

    def _pieces(self) -> Iterator[tuple[Part, slice]]:
        start = 0
        for part in self.parts:
            yield part, slice(start, start + len(part.offsets))
            start += len(part.offsets)

    @property
    def busy(self) -> Mask:
        """Mark the GFNs that were answered with U_BUSY."""
        return among(self.codes, UCode.U_BUSY)

    def unchanged(self, chosen: Mask) -> Mask:
        """Return those of the `chosen` GFNs that are still as they were, and that nobody has in flight."""
        still = np.zeros(len(self), np.bool_)
        for (part, piece), before in zip(self._pieces(), self._before, strict=True):
            if self.vm.slots.get(part.slot.slot_id) is part.slot:
                same = part.slot.state[part.offsets] == before
                still[piece] = chosen[piece] & same & ~part.slot.marked(part.offsets, MOVING)
        return still

    def send(self, name: str, chosen: Mask) -> Operation[None]:
        """Send the `chosen` GFNs by ultracall `name` once, and note their codes."""
        places = chosen.nonzero()[0]
        ras, gfns = self.ras[places], self.gfns[places]
        # A run lies in one slot, though slots may abut here and there, and in one message.
        message_of = np.arange(len(places)) // PAGES_AT_ONCE
        cuts = (gfns, 1), (ras, PAGE_SIZE), (self._part_of[places], 0), (message_of, 0)
        firsts, counts = breaks(len(places), *cuts)
        for message in messages(message_of[firsts]):
            some, pages = firsts[message], counts[message]
            sent = slice(int(some[0]), int(some[-1] + pages[-1]))
            request = self._request(name, ras[some], gfns[some] << PAGE_ORDER, pages)
            try:
                reply: Reply = yield Ask(name, request, self.vm.svm_incarnation)
                self.codes[places[sent]] = codes_of(name, reply, gfns[sent])
                if not (reply.code.succeeded or reply.code is UCode.U_BUSY or len(reply.refused)):
                    self.failure = f"{name}: {reply.code.name} {reply.detail}".rstrip()
            except PeerFailure as failure:
                self.failure = note_failure(self.vm, failure)
                self.codes[places[sent]] = UNMADE
            if self.failure:
                self.codes[places[sent.stop :]] = UNMADE
                return

    def _request(self, name: str, ras: I64, gpas: I64, counts: I64) -> object:
        lpid = self.vm.lpid
        if name == "UV_PAGE_INVAL":
            return PageInval(lpid, PageRuns(words_of(gpas, counts)), PAGE_ORDER)
        form = {"UV_PAGE_IN": PageIn, "UV_PAGE_OUT": PageOut}[name]
        return form(lpid, PlacedRuns(words_of(ras, gpas, counts)), 0, PAGE_ORDER)

    @property
    def obstacle(self) -> Obstacle:
        """Say what kept GFNs from an answer of their own: a refused message, or time that is over."""
        busy = not self.failure and bool(self.busy.any())
        return Obstacle(self.detail() if self.failure or busy else "", busy)

    def detail(self) -> str:
        """Say, for people, what was refused; empty where nothing was."""
        if self.failure or not np.count_nonzero(self.codes):
            return self.failure
        refused = np.unique(self.codes[self.codes != 0]).tolist()
        return ", ".join(UCode(code).name for code in refused)


def messages(message_of: I64) -> Iterator[slice]:
    """Yield the runs of each message: those of one number (ascending, one a run), `RUNS_AT_ONCE` at most."""
    edges = np.flatnonzero(np.diff(message_of)) + 1
    for start, end in pairwise([0, *edges.tolist(), len(message_of)]):
        for first in range(start, end, RUNS_AT_ONCE):
            yield slice(first, min(first + RUNS_AT_ONCE, end))


def fly(
    pool: DevicePool,
    flight: Flight,
    name: str,
    land: Land,
    *,
    taking: bool = False,
    leaving: bool = False,
) -> Operation[Flight]:
    """Send the GFNs of a flight by ultracall `name`, and `land` them while they bear MOVING.

    `taking`: each takes a device page, which the caller has seen to be free; `leaving`: each may give one
    back. What is answered with U_BUSY is let go, and sent again after a while, as long as there is time, it
    is still what it was, and there are device pages for it.
    """
    pending = np.ones(len(flight), np.bool_)
    for attempt in count():
        number = int(np.count_nonzero(pending))
        if not number:
            break
        pages = [(leg.slot, leg.offsets) for leg in flight.legs(pending)]
        with in_flight(pool, pages, taking=number * taking, leaving=number * leaving) as reserved:
            yield from flight.send(name, pending)
            for leg in flight.legs(pending):
                yield from land(leg, reserved)
        busy = flight.busy
        if flight.failure or not busy.any() or not (yield Pause(attempt)):
            break
        pending = flight.unchanged(busy)
        if taking and int(np.count_nonzero(pending)) > pool.free:
            break
    return flight


def codes_of(name: str, reply: Reply, gfns: I64) -> NDArray[np.int16]:
    """Return the code of each of the `gfns` that a message carried.

    A refusal of the message as a whole names no runs: it is the code of each. Raise PeerFailure where the
    reply makes no sense.
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
