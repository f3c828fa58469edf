"""H_SVM_PAGE_OUT: take these guest pages out of secure memory, by UV_PAGE_OUT.

Source: Documentation/powerpc/ultravisor.rst, H_SVM_PAGE_OUT; specification of the Hypervisor, sections 4, 5.
"""

from typing import Final

from pef_hypervisor import checks
from pef_hypervisor.checks import PagingHypercall, why_busy
from pef_hypervisor.gfn.columns import BUSY, Codes, GfnSets, marked, only, states_of
from pef_hypervisor.gfn.table import GfnAction, GfnEvent
from pef_hypervisor.state import Store, Vm
from pef_hypervisor.to_ultravisor.paging import page_out
from pef_kit.core.checks import CheckOrder, refuse
from pef_kit.core.effects import Operation
from pef_kit.core.runs import isin
from pef_protocol import check_orders
from pef_protocol.calls import Reply
from pef_protocol.codes import HCode
from pef_protocol.http import Caller
from pef_protocol.hypercalls import SvmPageOut

CHECKS: Final = CheckOrder[PagingHypercall](
    check_orders.SVM_PAGE_OUT,
    {
        "caller": checks.from_ultravisor,
        "started": checks.started,
        "order": checks.page_order,
        "flags": lambda call: call.request.flags == 0,
        "gpa": checks.in_one_slot,
    },
)


def svm_page_out(store: Store, caller: Caller, request: SvmPageOut) -> Operation[Reply]:
    """Page the GFNs out that are secure; the others are out already, which is success.

    A GFN that another call has in flight is H_BUSY; one that the Ultravisor does not give is H_PARAMETER and
    stays secure.
    """
    # parameters
    call = PagingHypercall(store, caller, request, check_orders.SVM_PAGE_OUT)

    # checks
    failed, run_codes = CHECKS.check_runs(call, len(call.gpas))
    if failed is not None:
        return refuse(failed)
    vm, gfn_sets = call.vm, call.gfn_sets(run_codes)
    if why := why_busy(vm):
        return Reply(HCode.H_BUSY, detail=why)

    # effect
    with vm.gate.admitted() as turn:
        codes, detail = yield from store.leased(vm, turn, _page_out(store, vm, gfn_sets))

    # reply
    return call.reply(run_codes, gfn_sets, codes, detail)


def _page_out(store: Store, vm: Vm, gfn_sets: GfnSets) -> Operation[tuple[Codes, str]]:
    """Page out what is secure; return the code of each GFN, and a sentence for people."""
    judged = vm.design.table.judge(GfnEvent.PAGE_OUT, states_of(gfn_sets))
    codes = judged.code
    codes[marked(gfn_sets, BUSY)] = HCode.H_BUSY
    sent = (codes == 0) & isin(judged.action, GfnAction.PAGE_OUT)
    batch = yield from page_out(store, vm, only(gfn_sets, sent), judged.next_state[sent])
    codes[sent] = batch.hypercall_codes
    return codes, batch.detail
