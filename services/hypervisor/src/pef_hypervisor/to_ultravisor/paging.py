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

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pef_hypervisor.gfn.columns import (
    BUSY,
    HOST_POPULATED,
    SENT,
    STAND_IN,
    DevicePool,
    Reservation,
    VmSlot,
    in_flight,
)
from pef_hypervisor.state import Store, Vm
from pef_hypervisor.to_ultravisor.calls import PEER, UNMADE, Obstacle, note_failure
from pef_kit.operations import Ask, Operation, Pause, PeerFailure
from pef_kit.spans import I64, U8, Mask, among, breaks, columns_of, spread, words_of
from pef_protocol.calls import CALLS, Reply
from pef_protocol.codes import HCode, UCode
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE
from pef_protocol.runs import PageRuns, PlacedRuns
from pef_protocol.states import HvGfnState
from pef_protocol.ultracalls import PageIn, PageInval, PageOut
from pef_protocol.wire import PAGES_AT_ONCE, RUNS_AT_ONCE


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
"""Makes of the GFNs of a leg, which bear BUSY, what their codes say."""


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
                still[piece] = chosen[piece] & same & ~part.slot.marked(part.offsets, BUSY)
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
    """Send the GFNs of a flight by ultracall `name`, and `land` them while they bear BUSY.

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


def set_accepted(leg: Leg) -> Mask:
    """Give the accepted GFNs of a leg their next state; return which they are."""
    done = leg.done
    leg.slot.state[leg.offsets[done]] = leg.then[done]
    return done


def scrub_pages(store: Store, vm: Vm, slot: VmSlot, offsets: I64) -> Operation[None]:
    """Scrub the normal pages at `offsets` (pages), which bear BUSY or are nobody's, and their marks.

    Where a request of the memory bus still names one, and there is no time to wait for its end, the pages
    keep the mark by which reset scrubs them, and the VM must be reset.
    """
    if (yield from store.memory.scrub(slot, offsets)):
        slot.unmark(offsets, HOST_POPULATED | STAND_IN)
    else:
        slot.mark(offsets, HOST_POPULATED | STAND_IN)
        vm.must_reset = True


def page_in(store: Store, vm: Vm, parts: Sequence[Part]) -> Operation[Flight]:
    """Do PAGE_IN: the normal pages go into secure memory; those of refused GFNs stay what they are.

    The caller has made sure that there are device pages for all.
    """

    def landed(leg: Leg, reserved: Reservation) -> Operation[None]:
        done = leg.offsets[set_accepted(leg)]
        reserved.keep(len(done))
        leg.slot.mark(done, SENT)
        yield from scrub_pages(store, vm, leg.slot, done)

    return (yield from fly(store.pool, Flight(vm, parts), "UV_PAGE_IN", landed, taking=True))


def share(store: Store, vm: Vm, parts: Sequence[Part]) -> Operation[Flight]:
    """Do SHARE: the normal pages are shared, a fresh one in place of a secure page.

    Its device page is given back; where the Ultravisor refuses, the fresh page goes and the secure one stays.
    """

    def landed(leg: Leg, _: Reservation) -> Operation[None]:
        done = set_accepted(leg)
        fresh = among(leg.before, HvGfnState.SECURE)
        leg.slot.mark(leg.offsets[done], HOST_POPULATED)
        leg.slot.mark(leg.offsets[done & fresh], STAND_IN)
        store.pool.put_back(int(np.count_nonzero(done & fresh)))
        yield from scrub_pages(store, vm, leg.slot, leg.offsets[leg.refused & fresh])

    return (yield from fly(store.pool, Flight(vm, parts), "UV_PAGE_IN", landed))


def page_out(store: Store, vm: Vm, parts: Sequence[Part]) -> Operation[Flight]:
    """Do PAGE_OUT: the encrypted pages come into their normal pages, the device pages are given back."""

    def landed(leg: Leg, _: Reservation) -> Operation[None]:
        done = set_accepted(leg)
        leg.slot.mark(leg.offsets[done], HOST_POPULATED | STAND_IN)
        store.pool.put_back(int(np.count_nonzero(done)))
        yield from scrub_pages(store, vm, leg.slot, leg.offsets[leg.refused])

    return (yield from fly(store.pool, Flight(vm, parts), "UV_PAGE_OUT", landed, leaving=True))
