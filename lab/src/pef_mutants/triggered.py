"""What somebody must do for a mutant to show itself, where nobody honest ever does it.

Beside sound code nothing comes of it: what is asked is refused, and no page, state or code is another than it
would be. `shares_refused_late` and `pretended_page_in` are the exceptions: they keep a guest from what it
wants, which a Hypervisor may always do; nothing else that must hold is broken by them.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from pef_hypervisor.from_ultravisor import svm_init_done, svm_page_in
from pef_hypervisor.gfn.columns import BUSY, GfnSets, gfn_set_at, in_flight
from pef_hypervisor.state import Store, Vm
from pef_hypervisor.to_ultravisor.paging import PageBatch
from pef_kit.core.effects import Operation, PeerFailure, ask
from pef_kit.core.runs import columns_of, spread
from pef_mutants.exchange import attribute, everywhere, only_in
from pef_protocol.calls import Reply
from pef_protocol.codes import HCode
from pef_protocol.http import Caller, Role
from pef_protocol.hypercalls import SvmInitDone, SvmInitStart, SvmPageIn
from pef_protocol.quantities import H_PAGE_IN_SHARED, PAGE_ORDER, PAGE_SIZE
from pef_protocol.states import HvGfnState, HvVmState, UvVmState
from pef_protocol.states import UvGfnState as S
from pef_protocol.ultracalls import UnshareAllPages
from pef_ultravisor.access import Access
from pef_ultravisor.from_guest import esm, unshare_all_pages
from pef_ultravisor.gfn.columns import HCALL_PENDING, in_state, page_runs
from pef_ultravisor.state import Svm, Ultravisor
from pef_ultravisor.to_hypervisor.calls import Refused
from pef_ultravisor.to_hypervisor.calls import request as ask_until_done


@contextmanager
def unasked_page_in() -> Iterator[None]:
    """Have the Hypervisor offer once more, before it serves H_SVM_INIT_DONE, all that it holds as secure.

    The pages that it offers are scrubbed; what was imported has been measured by then.
    """
    original = svm_init_done.svm_init_done

    def done(store: Store, caller: Caller, request: SvmInitDone) -> Operation[Reply]:
        vm = store.vms.get(request.lpid)
        if caller.role is Role.ULTRAVISOR and vm is not None and vm.started and not vm.gate.taken:
            with vm.gate.admitted():
                yield from _offer_held(store, vm)
        return (yield from original(store, caller, request))

    with everywhere(original, done):
        yield


def _offer_held(store: Store, vm: Vm) -> Operation[None]:
    secure: GfnSets = []
    for slot in vm.slots if vm.state is HvVmState.TRANSIENT else ():
        found = np.flatnonzero((slot.state == HvGfnState.SECURE) & ~slot.marked(slice(None), BUSY))
        secure += [gfn_set_at(slot, found)] if len(found) else []
    batch = PageBatch(vm, secure)
    with in_flight(store.pool, secure):
        if len(batch):
            yield from batch.send("UV_PAGE_IN", np.ones(len(batch), np.bool_))


@contextmanager
def shares_refused_late() -> Iterator[None]:
    """Have the Hypervisor refuse each share of a secure VM once it has offered the pages.

    That is its right: the sound Ultravisor takes the share back, and nothing has changed but that it failed.
    """
    original = svm_page_in.svm_page_in

    def page_in(store: Store, caller: Caller, request: SvmPageIn) -> Operation[Reply]:
        reply = yield from original(store, caller, request)
        vm = store.vms.get(request.lpid)
        secure = vm is not None and vm.state is HvVmState.SECURE
        refuses = reply.code.succeeded and secure and request.flags == H_PAGE_IN_SHARED
        return Reply(HCode.H_PARAMETER) if refuses else reply

    with everywhere(original, page_in):
        yield


@contextmanager
def pretended_page_in() -> Iterator[None]:
    """Have the Hypervisor say of paged-out pages of a secure VM that it brought them, and do nothing.

    They can't be used then: that is its right. A design of two states does not know which those are.
    """
    original = svm_page_in.svm_page_in

    def page_in(store: Store, caller: Caller, request: SvmPageIn) -> Operation[Reply]:
        vm = store.vms.get(request.lpid)
        if caller.role is Role.ULTRAVISOR and vm is not None and vm.state is HvVmState.SECURE:
            gpas, counts = columns_of(request.runs)
            gfns = spread((gpas >> PAGE_ORDER).view(np.int64), counts.view(np.int64), 1)
            slots = [vm.slots.holding(int(gfn)) for gfn in gfns]
            if not request.flags and all(
                slot is not None and slot.state[gfn - slot.first] == HvGfnState.PAGED_OUT
                for slot, gfn in zip(slots, gfns, strict=True)
            ):
                return Reply(HCode.H_SUCCESS)
        return (yield from original(store, caller, request))

    with everywhere(original, page_in):
        yield


@contextmanager
def done_after_failure() -> Iterator[None]:
    """Have UV_ESM make H_SVM_INIT_DONE where its H_SVM_INIT_START was refused, before it goes back."""
    original = ask_until_done

    def request(svm: Svm, name: str, arguments: object, *, ignore_deadline: bool = False) -> Operation[Reply]:
        try:
            return (yield from original(svm, name, arguments, ignore_deadline=ignore_deadline))
        except Refused:
            if isinstance(arguments, SvmInitStart):
                yield from _in_vain("H_SVM_INIT_DONE", SvmInitDone(arguments.lpid))
            raise

    with only_in(esm, "request", request):
        yield


@contextmanager
def started_again() -> Iterator[None]:
    """Have an SVM that makes UV_UNSHARE_ALL_PAGES, as before kexec, make H_SVM_INIT_START first.

    The firmware passes an SVM's own hypercalls on as if they were its own.
    """
    original = unshare_all_pages.uv_unshare_all_pages

    def unshare_all(uv: Ultravisor, caller: Caller, asked: UnshareAllPages) -> Operation[Reply]:
        svm = uv.svm(caller.lpid)
        if caller.is_vm_kernel and svm is not None and svm.state is UvVmState.SECURE:
            yield from _in_vain("H_SVM_INIT_START", SvmInitStart(svm.lpid))
        return (yield from original(uv, caller, asked))

    with everywhere(original, unshare_all):
        yield


@contextmanager
def reflected_faults() -> Iterator[None]:
    """Have each access of a guest to a secure page tell the Hypervisor of it, as a reflected fault does."""
    original = Access.resolve

    def resolve(access: Access, uv: Ultravisor, svm: Svm) -> Operation[None]:
        first = access.gpa >> PAGE_ORDER
        count = -(-(access.gpa % PAGE_SIZE + len(access.content)) >> PAGE_ORDER)
        for part in in_state(svm.slots.covered(first, count) or [], S.SECURE):
            if part.slot.in_flight(part.selection).any():
                continue
            part.slot.mark(part.selection, HCALL_PENDING)
            svm.open_calls += 1
            try:
                request = SvmPageIn(svm.lpid, page_runs([part]), 0, PAGE_ORDER)
                yield from _in_vain("H_SVM_PAGE_IN", request)
            finally:
                part.slot.unmark(part.selection, HCALL_PENDING)
                svm.open_calls -= 1
        yield from original(access, uv, svm)

    with attribute(Access, "resolve", resolve):
        yield


def _in_vain(name: str, request: object) -> Operation[None]:
    """Make a hypercall and pass over whatever comes of it."""
    try:
        yield from ask(name, request)
    except PeerFailure:
        return
