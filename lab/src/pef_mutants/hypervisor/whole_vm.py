"""Mutants of the Hypervisor in which a VM, or a slot of it, is not what the Ultravisor takes it for.

Source: specification of the Hypervisor, section 7: K1, K2, K3, K6, K8, K9, K11, K14, K15.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from pef_hypervisor import checks, dispatch
from pef_hypervisor.from_ultravisor import svm_init_abort, svm_init_start
from pef_hypervisor.from_vmm import add_slot, reset
from pef_hypervisor.gfn.columns import GfnSets, VmSlot, only, states_of
from pef_hypervisor.gfn.table import GfnEvent, N, P, to
from pef_hypervisor.memory import restore, slots
from pef_hypervisor.memory.slots import forget, register, unregister
from pef_hypervisor.outcome import DONE, Outcome
from pef_hypervisor.state import Store, Vm
from pef_hypervisor.to_ultravisor.calls import Answer, Obstacle, call_once, end_svm, write_pate
from pef_kit.core.columns import GfnSet
from pef_kit.core.effects import Operation
from pef_kit.core.runs import isin
from pef_mutants.exchange import cells_of_every_design, everywhere, only_in
from pef_protocol.calls import Reply
from pef_protocol.codes import HCode, UCode
from pef_protocol.http import Caller, Role
from pef_protocol.hypercalls import SvmInitStart
from pef_protocol.identity import Incarnation
from pef_protocol.quantities import PAGE_SIZE, gpa_of
from pef_protocol.states import HvGfnState, HvVmState
from pef_protocol.ultracalls import RegisterMemSlot


@contextmanager
def k1() -> Iterator[None]:
    """Call a VM started whatever came of its H_SVM_INIT_START."""
    original = svm_init_start.svm_init_start

    def start(store: Store, caller: Caller, request: SvmInitStart) -> Operation[Reply]:
        reply = yield from original(store, caller, request)
        vm = store.vms.get(request.lpid)
        if caller.role is Role.ULTRAVISOR and vm is not None and not vm.gate.taken:
            vm.state = HvVmState.TRANSIENT if vm.state is HvVmState.NORMAL else vm.state
            vm.must_abort = vm.abort_due = False
        return reply

    with everywhere(original, start):
        yield


@contextmanager
def k2() -> Iterator[None]:
    """Undo a failed H_SVM_INIT_START by unregistering, for each slot made, the one that failed."""

    def register_all(vm: Vm) -> Operation[str]:
        made: list[VmSlot] = []
        for slot in vm.slots:
            answer = yield from register(vm, slot)
            if not answer.succeeded:
                for earlier in made:
                    yield from unregister(vm, slot)
                    earlier.registered = False
                return answer.detail
            made.append(slot)
        return ""

    with everywhere(svm_init_start._register_all, register_all):
        yield


@contextmanager
def k3() -> Iterator[None]:
    """Accept H_SVM_INIT_START once more: secure pages are forgotten, and so is H_SVM_INIT_DONE.

    The kernel registers the slots again, too; the Ultravisor would refuse that, so it is left out. Nobody
    honest asks twice: a message comes twice, or under `triggered.started_again`. The incarnation that it
    means would keep it out, too: so that is not looked at.
    """
    original = svm_init_start.svm_init_start

    def require_meant(vm: Vm, caller: Caller, *, starts: bool) -> None:
        if not starts:
            checks.require_meant(vm, caller, starts=starts)

    def start(store: Store, caller: Caller, request: SvmInitStart) -> Operation[Reply]:
        vm = store.vms.get(request.lpid)
        if caller.role is not Role.ULTRAVISOR or vm is None or not vm.started or vm.gate.taken:
            return (yield from original(store, caller, request))
        yield from forget(store, vm, vm.slots)
        vm.state = HvVmState.TRANSIENT
        return Reply(HCode.H_SUCCESS, {"design": vm.design.name})

    with everywhere(original, start), only_in(dispatch, "require_meant", require_meant):
        yield


@contextmanager
def k6() -> Iterator[None]:
    """Let a VM go on as a normal one whatever H_SVM_INIT_ABORT was refused: it keeps those secure pages."""
    restore_cleartext, give_up = restore.restore_cleartext, restore._give_up
    refused: defaultdict[int, list[GfnSet[VmSlot]]] = defaultdict(list)

    def keep(store: Store, vm: Vm, gfn_sets: GfnSets) -> Operation[int]:
        secure = isin(states_of(gfn_sets), HvGfnState.SECURE)
        refused[vm.lpid] += only(gfn_sets, secure)
        return (yield from give_up(store, vm, only(gfn_sets, ~secure)))

    def give_what_is_given(store: Store, vm: Vm) -> Operation[tuple[int, Obstacle]]:
        refused[vm.lpid].clear()
        yield from restore_cleartext(store, vm)
        for gfns in refused[vm.lpid]:
            gfns.slot.state[gfns.selection] = HvGfnState.SECURE
        return 0, Obstacle()

    def end_somehow(vm: Vm, incarnation: Incarnation | None) -> Operation[Answer]:
        answer = yield from end_svm(vm, incarnation)
        return Answer(UCode.U_SUCCESS, answer.detail)

    with (
        everywhere(restore_cleartext, give_what_is_given),
        everywhere(give_up, keep),
        only_in(svm_init_abort, "end_svm", end_somehow),
    ):
        yield


@contextmanager
def k8() -> Iterator[None]:
    """Take busy for a success of UV_REGISTER_MEM_SLOT."""

    def register_once(vm: Vm, slot: VmSlot) -> Operation[Answer]:
        request = RegisterMemSlot(vm.lpid, gpa_of(slot.first), slot.count * PAGE_SIZE, 0, slot.slot_id)
        answer = yield from call_once("UV_REGISTER_MEM_SLOT", request, vm, vm.svm_incarnation)
        if answer.code is UCode.U_BUSY:
            answer = Answer(UCode.U_SUCCESS, answer.detail)
        slot.registered = answer.succeeded
        return answer

    with everywhere(slots.register, register_once):
        yield


@contextmanager
def k9() -> Iterator[None]:
    """Tell the operator that a hot-add worked, whatever the Ultravisor said; the slot stays."""
    original = add_slot._plug

    def plug(store: Store, vm: Vm, slot: VmSlot) -> Operation[Outcome]:
        yield from original(store, vm, slot)
        if slot not in tuple(vm.slots):
            vm.slots.add(slot)
        return DONE

    with everywhere(original, plug):
        yield


@contextmanager
def k11() -> Iterator[None]:
    """Drop pages and slots of a VM that is reset before its SVM has ended; where that is refused, no more."""

    def end(store: Store, vm: Vm) -> Operation[Answer]:
        for slot in vm.slots:
            yield from forget(store, vm, [slot])
            if slot.registered:
                yield from unregister(vm, slot)
        answer = yield from end_svm(vm)
        return (yield from write_pate(vm.lpid, radix=vm.radix)) if answer.succeeded else answer

    with everywhere(reset._end, end):
        yield


@contextmanager
def k14() -> Iterator[None]:
    """Leave in normal pages what they held for the SVM when its VM is reset."""

    def forget_all(store: Store, vm: Vm) -> Operation[None]:
        return forget(store, vm, vm.slots)

    with everywhere(slots.drop_secure, forget_all):
        yield


@contextmanager
def k15() -> Iterator[None]:
    """Make a paged-out GFN normal at H_SVM_INIT_ABORT, as it is, and send nothing."""
    as_it_is = {GfnEvent.INIT_ABORT: {P: to(N), N: to(N)}}
    with cells_of_every_design(as_it_is), everywhere(restore._scrub_unknown, _nothing):
        yield


def _nothing(*_: object) -> Operation[int]:
    yield from ()
    return 0
