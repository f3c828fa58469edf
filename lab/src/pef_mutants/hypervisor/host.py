"""Mutants of the Hypervisor towards its VMM, and in what it believes.

Source: specification of the Hypervisor, section 4, "host (VMM) touches the page", and section 6.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from pef_hypervisor.from_vmm import add_slot, remove_slot, reset
from pef_hypervisor.gfn.columns import VmSlot
from pef_hypervisor.gfn.table import GfnAction, GfnEvent, H, N, P, S, to
from pef_hypervisor.memory import host_access, slots
from pef_hypervisor.outcome import DONE, Errno, Outcome
from pef_hypervisor.state import Store, Vm
from pef_hypervisor.to_ultravisor import calls
from pef_hypervisor.to_ultravisor.calls import Answer
from pef_hypervisor.to_ultravisor.paging import PageBatch, PagingCall
from pef_kit.core.effects import Operation
from pef_kit.core.runs import Mask
from pef_mutants.exchange import attribute, cells_of_every_design, everywhere
from pef_mutants.mutant import by_hand
from pef_protocol.codes import UCode
from pef_protocol.events import Side
from pef_protocol.quantities import Gpa, Lpid, SlotId
from pef_protocol.states import HvVmState


def _done(*_: object, **__: object) -> Operation[Outcome]:
    """Say that it is done, and do nothing."""
    yield from ()
    return DONE


@contextmanager
def unplugs_nothing() -> Iterator[None]:
    """Say that a slot is removed, and keep it."""
    with everywhere(remove_slot.remove_slot, _done):
        yield


@contextmanager
def unplugs_regardless() -> Iterator[None]:
    """Remove a slot that the Ultravisor does not let go of."""
    original = slots.unregister_at_rest

    def unregister(store: Store, vm: Vm, slot: VmSlot) -> Operation[Answer]:
        answer = yield from original(store, vm, slot)
        return Answer(UCode.U_SUCCESS, answer.detail)

    with everywhere(original, unregister):
        yield


@contextmanager
def outside_is_zero() -> Iterator[None]:
    """Let the host read zeroes where no slot is, and write there for nothing."""
    original = host_access.fetch_for_host

    def reach(store: Store, vm: Vm, gpa: Gpa, length: int) -> Operation[Any]:
        reached = yield from original(store, vm, gpa, length)
        nowhere = isinstance(reached, Outcome) and vm.slots.covered(gpa >> 16, 1) is None
        return [] if nowhere else reached

    with everywhere(original, reach):
        yield


@contextmanager
def entry_unwritten() -> Iterator[None]:
    """Send no UV_WRITE_PATE."""

    def unsent(*_: object, **__: object) -> Operation[Answer]:
        yield from ()
        return Answer(UCode.U_SUCCESS, "")

    with everywhere(calls.write_pate, unsent), everywhere(calls.clear_pate, unsent):
        yield


@contextmanager
def resets_nothing() -> Iterator[None]:
    """Say that a VM is reset, and leave it as it is."""
    with everywhere(reset.reset, _done):
        yield


@contextmanager
def resets_normal_vms() -> Iterator[None]:
    """Write the entry of a VM anew that is reset and was normal."""
    original = reset.reset

    def again(store: Store, lpid: Lpid) -> Operation[Outcome]:
        vm = store.vms.get(lpid)
        if vm is not None and vm.state is HvVmState.NORMAL:
            yield from calls.write_pate(vm.lpid, radix=vm.radix)
        return (yield from original(store, lpid))

    with everywhere(original, again):
        yield


@contextmanager
def registers_at_once() -> Iterator[None]:
    """Register a slot of a normal VM."""
    original = add_slot.add_slot

    def add(store: Store, lpid: Lpid, slot_id: SlotId, gpa: Gpa, size: int) -> Operation[Outcome]:
        outcome = yield from original(store, lpid, slot_id, gpa, size)
        vm = store.vms.get(lpid)
        slot = vm.slots.get(slot_id) if vm is not None else None
        if outcome.errno is Errno.OK and vm is not None and slot is not None and not vm.started:
            yield from slots.register(vm, slot)
            slot.registered = False
        return outcome

    with everywhere(original, add):
        yield


@contextmanager
def busy_believed() -> Iterator[None]:
    """Take what stays busy for done in the end."""
    call_with_retry, send = calls.call_with_retry, PageBatch.send

    def believe(*asked: Any) -> Operation[Answer]:
        answer = yield from call_with_retry(*asked)
        return Answer(UCode.U_SUCCESS, "") if answer.code is UCode.U_BUSY else answer

    def send_and_believe(batch: PageBatch, name: PagingCall, chosen: Mask) -> Operation[None]:
        yield from send(batch, name, chosen)
        batch.codes[batch.codes == UCode.U_BUSY] = 0

    with everywhere(call_with_retry, believe), attribute(PageBatch, "send", send_and_believe):
        yield


@contextmanager
def shared_again_is_normal() -> Iterator[None]:
    """Call a shared page normal once it is shared again."""
    with cells_of_every_design({GfnEvent.SHARE: {H: to(N, GfnAction.SHARE)}}):
        yield


@contextmanager
def share_is_paged_out() -> Iterator[None]:
    """Call a page that was secure, and is shared, paged out."""
    with cells_of_every_design({GfnEvent.SHARE: {S: to(P, GfnAction.SHARE)}}):
        yield


@contextmanager
def done_forgets() -> Iterator[None]:
    """Call normal, at H_SVM_INIT_DONE, what is secure already."""
    with cells_of_every_design({GfnEvent.INIT_DONE: {S: to(N, GfnAction.MARK)}}):
        yield


BY_HAND: Final = (
    by_hand(
        Side.HYPERVISOR,
        "unplugs-nothing",
        "a removed slot is still there",
        unplugs_nothing,
        "event/*/slot-removed*",
        "flow/hot-remove*",
        "hv/busy/*/slot-removed",
    ),
    by_hand(
        Side.HYPERVISOR,
        "unplugs-regardless",
        "a slot goes that the Ultravisor keeps",
        unplugs_regardless,
        "flow/hot-remove*",
    ),
    by_hand(
        Side.HYPERVISOR,
        "outside-is-zero",
        "the host reads zeroes where no slot is",
        outside_is_zero,
        "event/none/*",
    ),
    by_hand(
        Side.HYPERVISOR,
        "entry-unwritten",
        "no partition-table entry is written",
        entry_unwritten,
        "flow/*",
    ),
    by_hand(
        Side.HYPERVISOR,
        "resets-nothing",
        "a reset does nothing",
        resets_nothing,
        "vm/*",
        "flow/reset*",
    ),
    by_hand(
        Side.HYPERVISOR,
        "resets-normal-vms",
        "a reset of a normal VM writes its entry",
        resets_normal_vms,
        "vm/*",
        "flow/reset*",
    ),
    by_hand(
        Side.HYPERVISOR,
        "registers-at-once",
        "slots of a normal VM are registered",
        registers_at_once,
        "flow/*",
    ),
    by_hand(
        Side.HYPERVISOR,
        "shared-again-is-normal",
        "a page shared again is called normal",
        shared_again_is_normal,
        "life/*",
    ),
    by_hand(Side.HYPERVISOR, "share-is-paged-out", "a shared page is called paged out", share_is_paged_out),
    by_hand(
        Side.HYPERVISOR,
        "done-forgets",
        "what is secure is called normal at H_SVM_INIT_DONE",
        done_forgets,
        "life/*",
    ),
    by_hand(
        Side.HYPERVISOR,
        "busy-believed",
        "what stays busy is taken for done",
        busy_believed,
        "hv/busy/for-ever/*",
    ),
)
