"""Mutants of the Hypervisor that are neither of the real kernel nor of a family: each breaks one promise.

Source: specification of the Hypervisor, sections 4 to 6; decisions on U_BUSY and on memory.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from pef_hypervisor.from_ultravisor import svm_init_abort, svm_init_start, svm_page_in, svm_page_out
from pef_hypervisor.from_vmm import reset
from pef_hypervisor.gfn.columns import (
    HOST_POPULATED,
    Codes,
    DevicePool,
    GfnSets,
    VmSlot,
    gfn_set_at,
    mark,
    only,
    states_of,
)
from pef_hypervisor.memory.slots import register, unregister
from pef_hypervisor.normal_memory import RealMemory
from pef_hypervisor.state import Gate, Store, Vm
from pef_hypervisor.to_ultravisor import calls
from pef_hypervisor.to_ultravisor import paging as batches
from pef_hypervisor.to_ultravisor.calls import Answer
from pef_hypervisor.to_ultravisor.paging import PageBatch, PagingCall, page_out
from pef_kit.core.effects import Operation
from pef_kit.core.runs import I64, U8, Mask, isin
from pef_kit.runtime import messages
from pef_mutants import answers
from pef_mutants.exchange import attribute, everywhere, only_in
from pef_mutants.mutant import by_hand
from pef_protocol.calls import Call, Reply
from pef_protocol.codes import HCode
from pef_protocol.events import Side
from pef_protocol.http import RUNS_IN_JSON, Caller
from pef_protocol.hypercalls import SvmInitAbort, SvmInitStart
from pef_protocol.states import HvGfnState


@contextmanager
def never_scrubbed() -> Iterator[None]:
    """Leave in a normal page what it holds when the page becomes secure, or goes."""
    with attribute(RealMemory, "scrub", answers.nothing):
        yield


@contextmanager
def slots_ascending() -> Iterator[None]:
    """Register the slots of a VM from the lowest base on."""

    def register_all(vm: Vm) -> Operation[str]:
        made: list[VmSlot] = []
        for slot in reversed(list(vm.slots)):
            answer = yield from register(vm, slot)
            if not answer.succeeded:
                for earlier in reversed(made):
                    yield from unregister(vm, earlier)
                return answer.detail
            made.append(slot)
        return ""

    with everywhere(svm_init_start._register_all, register_all):
        yield


@contextmanager
def reset_pages_out() -> Iterator[None]:
    """Page out what is secure before a reset drops it."""
    original = reset._end

    def end(store: Store, vm: Vm) -> Operation[Answer]:
        for slot in vm.slots:
            offsets = np.flatnonzero(slot.state == HvGfnState.SECURE)
            if len(offsets):
                yield from page_out(store, vm, [gfn_set_at(slot, offsets)], slot.state[offsets])
        return (yield from original(store, vm))

    with everywhere(original, end):
        yield


@contextmanager
def device_pages_leak() -> Iterator[None]:
    """Keep every device page that a GFN once had."""
    with attribute(DevicePool, "release", lambda *_: None):
        yield


@contextmanager
def released_twice() -> Iterator[None]:
    """Give a device page back for each share of a page, one that is shared already included."""
    original = svm_page_in.share

    def share_again(store: Store, vm: Vm, gfn_sets: GfnSets, next_states: U8) -> Operation[PageBatch]:
        shared = isin(states_of(gfn_sets), HvGfnState.SHARED)
        batch = yield from original(store, vm, gfn_sets, next_states)
        store.pool.release(int(np.count_nonzero(batch.accepted & shared)))
        return batch

    with only_in(svm_page_in, "share", share_again):
        yield


@contextmanager
def untouched_carried() -> Iterator[None]:
    """Carry every page that is asked for by UV_PAGE_IN, one that was never touched included."""
    original = svm_page_in.untouched

    def none_is_untouched(gfn_sets: GfnSets, states: U8) -> Mask:
        mark(only(gfn_sets, states == np.uint8(HvGfnState.NORMAL)), HOST_POPULATED)
        return original(gfn_sets, states)

    with only_in(svm_page_in, "untouched", none_is_untouched):
        yield


@contextmanager
def octets_cut() -> Iterator[None]:
    """Read of runs that travel as octets no more than could travel as JSON."""
    original = messages.from_octets

    def from_octets(call: Call, query: Mapping[str, str], body: bytes) -> Any:
        runs = len(original(call, query, body).runs)
        return original(call, query, body[: RUNS_IN_JSON * len(body) // runs] if runs else body)

    with everywhere(original, from_octets):
        yield


@contextmanager
def impatient() -> Iterator[None]:
    """Take U_BUSY for the last word."""

    def nothing_left(batch: PageBatch, _: Mask) -> Mask:
        return np.zeros(len(batch), np.bool_)

    with (
        everywhere(calls.call_with_retry, calls.call_once),
        attribute(PageBatch, "unchanged", nothing_left),
    ):
        yield


@contextmanager
def design_untold() -> Iterator[None]:
    """Answer H_SVM_INIT_START without the name of the VM's design."""
    original = svm_init_start.svm_init_start

    def start(store: Store, caller: Caller, request: SvmInitStart) -> Operation[Reply]:
        reply = yield from original(store, caller, request)
        return Reply(reply.code, detail=reply.detail)

    with everywhere(original, start):
        yield


@contextmanager
def abort_is_success() -> Iterator[None]:
    """Answer H_SVM_INIT_ABORT with H_SUCCESS when all is done, so that the guest learns of no failure."""
    original = svm_init_abort.svm_init_abort

    def abort(store: Store, caller: Caller, request: SvmInitAbort) -> Operation[Reply]:
        reply = yield from original(store, caller, request)
        return Reply(HCode.H_SUCCESS) if reply.code is HCode.H_PARAMETER else reply

    with everywhere(original, abort):
        yield


@contextmanager
def refusals_believed() -> Iterator[None]:
    """Take pages for moved that the Ultravisor refused to move."""

    def no_codes(_: str, __: Reply, gfns: I64) -> Codes:
        return np.zeros(len(gfns), np.int16)

    with everywhere(batches.codes_of, no_codes):
        yield


@contextmanager
def silence_believed() -> Iterator[None]:
    """Take pages for moved that the Ultravisor said nothing of."""
    original = PageBatch.send

    def send(batch: PageBatch, name: PagingCall, chosen: Mask) -> Operation[None]:
        yield from original(batch, name, chosen)
        if batch.failure:
            batch.codes[:] = 0
            batch.failure, batch.vm.must_reset = "", False

    with attribute(PageBatch, "send", send):
        yield


@contextmanager
def busy_is_refusal() -> Iterator[None]:
    """Tell of a page that the Ultravisor is busy with as of one that it refuses."""

    def as_refusals(batch: PageBatch) -> Codes:
        return np.where(batch.accepted, HCode.H_SUCCESS, HCode.H_PARAMETER).astype(np.int16)

    with attribute(PageBatch, "hypercall_codes", property(as_refusals)):
        yield


@contextmanager
def nobody_waits() -> Iterator[None]:
    """Begin operations on a whole VM beside each other."""

    def at_once(_: Gate) -> Operation[bool]:
        yield from ()
        return True

    with (
        attribute(Gate, "held", Gate.admitted),
        attribute(Gate, "aborting", Gate.admitted),
        attribute(Gate, "ending", Gate.admitted),
        attribute(Gate, "alone", at_once),
    ):
        yield


@contextmanager
def busy_pages_let_in() -> Iterator[None]:
    """Answer a hypercall on a GFN that another one has in flight as if nothing were."""
    with only_in(svm_page_in, "BUSY", 0), only_in(svm_page_out, "BUSY", 0):
        yield


BY_HAND: Final = (
    by_hand(
        Side.HYPERVISOR, "wrong-numbers", "a refusal has the number next to its own", answers.wrong_numbers
    ),
    by_hand(Side.HYPERVISOR, "refusals-believed", "refused pages are taken for moved", refusals_believed),
    by_hand(Side.HYPERVISOR, "silence-believed", "unanswered pages are taken for moved", silence_believed),
    by_hand(
        Side.HYPERVISOR,
        "never-scrubbed",
        "a normal page whose page became secure is not scrubbed",
        never_scrubbed,
    ),
    by_hand(
        Side.HYPERVISOR, "slots-ascending", "slots are registered from the lowest base on", slots_ascending
    ),
    by_hand(Side.HYPERVISOR, "reset-pages-out", "a reset pages out what it drops", reset_pages_out),
    by_hand(Side.HYPERVISOR, "device-pages-leak", "no device page comes back", device_pages_leak),
    by_hand(
        Side.HYPERVISOR, "given-back-twice", "sharing again gives a device page back again", released_twice
    ),
    by_hand(
        Side.HYPERVISOR, "untouched-carried", "a page that was never touched is carried", untouched_carried
    ),
    by_hand(Side.HYPERVISOR, "octets-cut", "runs beyond those of a JSON message are dropped", octets_cut),
    by_hand(Side.HYPERVISOR, "impatient", "U_BUSY is the last word", impatient, "hv/busy/*"),
    by_hand(
        Side.HYPERVISOR,
        "busy-is-refusal",
        "a busy page is told as a refused one",
        busy_is_refusal,
        "hv/busy/*",
    ),
    by_hand(Side.HYPERVISOR, "nobody-waits", "operations on a whole VM run beside each other", nobody_waits),
    by_hand(Side.HYPERVISOR, "in-hand-let-in", "a GFN in flight is taken for one at rest", busy_pages_let_in),
    by_hand(Side.HYPERVISOR, "design-untold", "H_SVM_INIT_START does not name the design", design_untold),
    by_hand(Side.HYPERVISOR, "abort-is-success", "H_SVM_INIT_ABORT done is H_SUCCESS", abort_is_success),
    by_hand(
        Side.HYPERVISOR,
        "unknown-is-done",
        "a call that there is not succeeds",
        answers.unknown_is_done,
        "hv/unknown/*",
    ),
    by_hand(Side.HYPERVISOR, "refused-untold", "refused runs are not named", answers.refused_runs_untold),
    by_hand(
        Side.HYPERVISOR, "neighbours-refused", "one wrong run refuses the message", answers.neighbours_refused
    ),
)
"""Those that many rows find come first: what is played after them has less left to prove."""
