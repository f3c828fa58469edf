"""Page batches: GFNs of one VM that ultracalls carry, in as few messages as there can be.

A page batch is a list of sets of GFNs and one array of return codes. Its GFNs are BUSY from before the
ultracall until their normal pages are as they shall be, and a state changes only once the Ultravisor has
accepted: so a refusal leaves a page as it was.

Trust: the Ultravisor may refuse, or answer nonsense. Nothing of ours has changed until it accepted, so there
is nothing to undo but the marks.
"""

from collections.abc import Callable, Iterator
from itertools import count, pairwise
from typing import Final, Literal, TypeAlias

import numpy as np

from pef_hypervisor.gfn.columns import (
    BUSY,
    HOST_POPULATED,
    SENT,
    STAND_IN,
    Codes,
    DevicePool,
    GfnSets,
    Reservation,
    in_flight,
    mark,
    marked,
    only,
    pieces,
    set_states,
    states_of,
    unmark,
)
from pef_hypervisor.state import Store, Vm
from pef_hypervisor.to_ultravisor.calls import PEER, UNMADE, Obstacle, note_failure
from pef_kit.core.effects import Backoff, Operation, PeerCall, PeerFailure
from pef_kit.core.runs import I64, U8, Mask, columns_of, isin, run_starts, spread, words_of
from pef_protocol.calls import CALLS, Reply
from pef_protocol.codes import HCode, UCode
from pef_protocol.http import PAGES_AT_ONCE, RUNS_AT_ONCE
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE
from pef_protocol.runs import PageRuns, PlacedRuns
from pef_protocol.ultracalls import PageIn, PageInval, PageOut

PagingCall: TypeAlias = Literal["UV_PAGE_IN", "UV_PAGE_OUT", "UV_PAGE_INVAL"]
Commit: TypeAlias = Callable[[Mask, Reservation], Operation[None]]
"""Makes of the GFNs that were just sent (bool, one per GFN), and are still BUSY, what their codes say."""

PLACED: Final[dict[str, type[PageIn] | type[PageOut]]] = {"UV_PAGE_IN": PageIn, "UV_PAGE_OUT": PageOut}


class PageBatch:
    """GFNs of one VM (`gfn_sets`), and what the Ultravisor answered (`codes`, one per GFN, in their order).

    `failure` says why a message as a whole was not done: then the codes say nothing of single GFNs.
    """

    def __init__(self, vm: Vm, gfn_sets: GfnSets, flags: int = 0) -> None:
        self.vm = vm
        self.flags = flags
        self.gfn_sets = gfn_sets
        none = [np.zeros(0, np.int64)]
        offsets = [gfns.each_offset() for gfns in gfn_sets]
        self._gfns: I64 = np.concatenate(
            [each + gfns.slot.first for gfns, each in zip(gfn_sets, offsets, strict=True)] or none
        )
        self._ras: I64 = np.concatenate(
            [gfns.slot.real_addresses(each) for gfns, each in zip(gfn_sets, offsets, strict=True)] or none
        )
        self._set_of = np.repeat(np.arange(len(gfn_sets)), [len(each) for each in offsets])
        self._states = states_of(gfn_sets)
        self.codes: Codes = np.zeros(len(self._gfns), np.int16)
        self.failure = ""

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def accepted(self) -> Mask:
        """Mark the GFNs whose code is success."""
        accepted: Mask = self.codes == 0
        return accepted

    @property
    def busy(self) -> Mask:
        """Mark the GFNs that were answered with U_BUSY."""
        busy: Mask = self.codes == np.int16(UCode.U_BUSY)
        return busy

    @property
    def refused(self) -> Mask:
        """Mark the GFNs that were refused for good."""
        refused: Mask = ~self.accepted & ~self.busy
        return refused

    def unchanged(self, chosen: Mask) -> Mask:
        """Return those of the `chosen` GFNs that are still as they were, and that nobody has in flight."""
        settled: Mask = chosen & (states_of(self.gfn_sets) == self._states) & ~marked(self.gfn_sets, BUSY)
        for gfns, piece in pieces(self.gfn_sets):
            if self.vm.slots.get(gfns.slot.slot_id) is not gfns.slot:
                settled[piece] = False
        return settled

    def send(self, name: PagingCall, chosen: Mask) -> Operation[None]:
        """Send the `chosen` GFNs by ultracall `name` once, and note their codes."""
        places = chosen.nonzero()[0]
        ras, gfns = self._ras[places], self._gfns[places]
        # A run lies in one slot, though slots may abut here and there, and in one message.
        message_of = np.arange(len(places)) // PAGES_AT_ONCE
        cuts = (gfns, 1), (ras, PAGE_SIZE), (self._set_of[places], 0), (message_of, 0)
        firsts, counts = run_starts(len(places), *cuts)
        for message in messages(message_of[firsts]):
            some, pages = firsts[message], counts[message]
            sent = slice(int(some[0]), int(some[-1] + pages[-1]))
            request = self._request(name, ras[some], gfns[some] << PAGE_ORDER, pages)
            try:
                reply: Reply = yield PeerCall(name, request, self.vm.svm_incarnation)
                self.codes[places[sent]] = codes_of(name, reply, gfns[sent])
                if not (reply.code.succeeded or reply.code is UCode.U_BUSY or len(reply.refused)):
                    self.failure = f"{name}: {reply.code.name} {reply.detail}".rstrip()
            except PeerFailure as failure:
                self.failure = note_failure(self.vm, failure)
                self.codes[places[sent]] = UNMADE
            if self.failure:
                self.codes[places[sent.stop :]] = UNMADE
                return

    def _request(self, name: PagingCall, ras: I64, gpas: I64, counts: I64) -> PageIn | PageOut | PageInval:
        lpid = self.vm.lpid
        if name == "UV_PAGE_INVAL":
            return PageInval(lpid, PageRuns(words_of(gpas, counts)), PAGE_ORDER)
        return PLACED[name](lpid, PlacedRuns(words_of(ras, gpas, counts)), self.flags, PAGE_ORDER)

    @property
    def obstacle(self) -> Obstacle:
        """Say what kept GFNs from an answer of their own: a refused message, or time that is over."""
        busy = not self.failure and bool(self.busy.any())
        return Obstacle(self.detail if self.failure or busy else "", busy)

    @property
    def detail(self) -> str:
        """Say, for people, what was refused; empty where nothing was."""
        if self.failure or not np.count_nonzero(self.codes):
            return self.failure
        refused = np.unique(self.codes[self.codes != 0]).tolist()
        return ", ".join(UCode(code).name for code in refused)

    @property
    def hypercall_codes(self) -> Codes:
        """Return the codes by which a hypercall tells of these: busy stays busy, a refusal is H_PARAMETER."""
        if not np.count_nonzero(self.codes):
            return np.zeros(len(self), np.int16)
        reported = np.where(self.busy, HCode.H_BUSY, HCode.H_PARAMETER)
        return np.where(self.accepted, HCode.H_SUCCESS, reported).astype(np.int16)


def messages(message_of: I64) -> Iterator[slice]:
    """Yield the runs of each message: those of one number (ascending, one a run), `RUNS_AT_ONCE` at most."""
    edges = np.flatnonzero(np.diff(message_of)) + 1
    for start, end in pairwise([0, *edges.tolist(), len(message_of)]):
        for first in range(start, end, RUNS_AT_ONCE):
            yield slice(first, min(first + RUNS_AT_ONCE, end))


def send_batch(
    pool: DevicePool,
    batch: PageBatch,
    name: PagingCall,
    commit: Commit,
    *,
    taking: bool = False,
    leaving: bool = False,
) -> Operation[None]:
    """Send the GFNs of a batch by ultracall `name`, and `commit` what was answered while they are BUSY.

    `taking`: each takes a device page, which the caller has seen to be free; `leaving`: each may give one
    back. What is answered with U_BUSY is let go, and sent again after a while, as long as there is time, it
    is still what it was, and there are device pages for it.
    """
    pending = np.ones(len(batch), np.bool_)
    for attempt in count():
        number = int(np.count_nonzero(pending))
        if not number:
            break
        chosen = only(batch.gfn_sets, pending)
        with in_flight(pool, chosen, taking=number * taking, leaving=number * leaving) as reserved:
            yield from batch.send(name, pending)
            yield from commit(pending, reserved)
        busy = batch.busy
        if batch.failure or not busy.any():
            break
        again: bool = yield Backoff(attempt)
        if not again:
            break
        pending = batch.unchanged(busy)
        if taking and int(np.count_nonzero(pending)) > pool.free:
            break


def codes_of(name: str, reply: Reply, gfns: I64) -> Codes:
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


def page_in(store: Store, vm: Vm, gfn_sets: GfnSets, next_states: U8) -> Operation[PageBatch]:
    """Move normal pages into secure memory by UV_PAGE_IN, then scrub them; a refused GFN stays what it is.

    `next_states`: uint8, one per GFN. The caller has made sure that there are device pages for all.
    """
    batch = PageBatch(vm, gfn_sets, vm.design.page_in_flags)

    def commit(sent: Mask, reserved: Reservation) -> Operation[None]:
        if vm.design.resident:
            batch.codes[isin(batch.codes, *vm.design.resident)] = UCode.U_SUCCESS
        done = sent & batch.accepted
        accepted = only(gfn_sets, done)
        set_states(accepted, next_states[done])
        mark(accepted, SENT)
        reserved.keep(int(np.count_nonzero(done)))
        yield from scrub_pages(store, vm, accepted)

    yield from send_batch(store.pool, batch, "UV_PAGE_IN", commit, taking=True)
    return batch


def page_out(store: Store, vm: Vm, gfn_sets: GfnSets, next_states: U8) -> Operation[PageBatch]:
    """Fetch secure pages, encrypted, into their normal pages by UV_PAGE_OUT; put their device pages back.

    `next_states`: uint8, one per GFN. A refused GFN stays what it is, and its normal page is scrubbed.
    """
    batch = PageBatch(vm, gfn_sets)

    def commit(sent: Mask, _: Reservation) -> Operation[None]:
        done = sent & batch.accepted
        accepted = only(gfn_sets, done)
        set_states(accepted, next_states[done])
        mark(accepted, HOST_POPULATED | STAND_IN)
        store.pool.release(int(np.count_nonzero(done)))
        yield from scrub_pages(store, vm, only(gfn_sets, sent & batch.refused))

    yield from send_batch(store.pool, batch, "UV_PAGE_OUT", commit, leaving=True)
    return batch


def scrub_pages(store: Store, vm: Vm, gfn_sets: GfnSets) -> Operation[None]:
    """Scrub the normal pages of GFNs, which are BUSY or nobody's, and take their marks off.

    Where a request of the memory bus still names one, and there is no time to wait for its end, the pages
    keep the mark by which reset scrubs them, and the VM must be reset.
    """
    for gfns in gfn_sets:
        if (yield from store.memory.scrub(gfns)):
            unmark([gfns], HOST_POPULATED | STAND_IN)
        else:
            mark([gfns], HOST_POPULATED | STAND_IN)
            vm.must_reset = True
