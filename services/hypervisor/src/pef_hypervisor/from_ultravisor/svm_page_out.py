"""H_SVM_PAGE_OUT: take these guest pages out of secure memory, by UV_PAGE_OUT.

Source: Documentation/powerpc/ultravisor.rst, H_SVM_PAGE_OUT; specification of the Hypervisor, sections 4, 5.
"""

from typing import Final

from pef_hypervisor.from_ultravisor import paging
from pef_hypervisor.from_ultravisor.paging import Paging
from pef_hypervisor.from_ultravisor.whole_vm import busy
from pef_hypervisor.gfn.table import GfnAction, GfnEvent
from pef_hypervisor.state import Store, Vm
from pef_hypervisor.to_ultravisor.paging import page_out
from pef_kit.ladder import Codes, Ladder
from pef_kit.operations import Operation
from pef_kit.spans import among
from pef_protocol import ladders
from pef_protocol.calls import Reply
from pef_protocol.codes import HCode
from pef_protocol.hypercalls import SvmPageOut
from pef_protocol.wire import Caller

LADDER: Final = Ladder[Paging](
    ladders.SVM_PAGE_OUT,
    {
        "caller": paging.from_ultravisor,
        "started": paging.started,
        "order": paging.order,
        "flags": lambda asked: asked.request.flags == 0,
        "gpa": paging.in_one_slot,
    },
)


def svm_page_out(store: Store, caller: Caller, request: SvmPageOut) -> Operation[Reply]:
    """Page the GFNs out that are secure; the others are out already, which is success.

    A GFN that another call has in flight is H_BUSY; one that the Ultravisor does not give is H_PARAMETER and
    stays secure.
    """
    # parameters
    asked = Paging(store, caller, request)

    # checks
    rung, codes = LADDER.climb_runs(asked, len(asked.gpas))
    vm = asked.vm
    if rung is not None or vm is None:
        return Reply(HCode(rung.code) if rung else HCode.H_UNSUPPORTED)  # refused as a whole: names no run
    asked.refusals.add_runs(codes)
    if why := busy(vm):
        return Reply(HCode.H_BUSY, detail=why)

    # effect
    with vm.gate.admitted() as turn:
        reply = yield from store.leased(vm, turn, _page_out(store, vm, asked, codes))

    # reply
    return reply


def _page_out(store: Store, vm: Vm, asked: Paging, codes: Codes) -> Operation[Reply]:
    verdicts = [paging.judge(vm, GfnEvent.PAGE_OUT, gfns) for gfns in asked.gfn_sets(codes)]
    sent = [(verdict, (verdict.codes == 0) & among(verdict.does, GfnAction.PAGE_OUT)) for verdict in verdicts]
    flight = yield from page_out(store, vm, [verdict.part(mask) for verdict, mask in sent])
    paging.note(flight, sent)
    return asked.reply(verdicts, flight.detail())
