"""H_SVM_PAGE_IN: bring these guest pages by UV_PAGE_IN, to be secure, or shared with H_PAGE_IN_SHARED.

Source: Documentation/powerpc/ultravisor.rst, H_SVM_PAGE_IN; specification of the Hypervisor, sections 4, 5.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from pef_hypervisor.from_ultravisor import paging
from pef_hypervisor.from_ultravisor.paging import Paging, Verdict
from pef_hypervisor.from_ultravisor.whole_vm import busy
from pef_hypervisor.gfn.columns import HOST_POPULATED, SENT, DevicePool
from pef_hypervisor.gfn.table import GfnAction, GfnEvent
from pef_hypervisor.state import Store, Vm
from pef_hypervisor.to_ultravisor.paging import page_in, share
from pef_kit.ladder import Codes, Ladder
from pef_kit.operations import Operation
from pef_kit.spans import Mask, among
from pef_protocol import ladders
from pef_protocol.calls import Reply
from pef_protocol.codes import HCode
from pef_protocol.hypercalls import SvmPageIn
from pef_protocol.quantities import H_PAGE_IN_SHARED
from pef_protocol.states import HvGfnState
from pef_protocol.wire import Caller

LADDER: Final = Ladder[Paging](
    ladders.SVM_PAGE_IN,
    {
        "caller": paging.from_ultravisor,
        "started": paging.started,
        "order": paging.order,
        "flags": lambda asked: asked.request.flags in {0, H_PAGE_IN_SHARED},
        "gpa": paging.in_one_slot,
    },
)


def svm_page_in(store: Store, caller: Caller, request: SvmPageIn) -> Operation[Reply]:
    """Offer the normal pages of the GFNs; one nested UV_PAGE_IN carries all that need it.

    A GFN that the Ultravisor holds already, for which there is no device page, or whose page the Ultravisor
    does not take is H_PARAMETER and stays as it is; one that another call has in flight is H_BUSY.
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
        reply = yield from store.leased(vm, turn, _page_in(store, vm, asked, codes))

    # reply
    return reply


def _page_in(store: Store, vm: Vm, asked: Paging, codes: Codes) -> Operation[Reply]:
    event = GfnEvent.SHARE if asked.request.flags == H_PAGE_IN_SHARED else GfnEvent.PAGE_IN
    verdicts = [paging.judge(vm, event, gfns) for gfns in asked.gfn_sets(codes)]
    ration(verdicts, store.pool)
    move = share if event is GfnEvent.SHARE else page_in
    sent = [(verdict, carried(store, verdict)) for verdict in verdicts]
    flight = yield from move(store, vm, [verdict.part(mask) for verdict, mask in sent])
    paging.note(flight, sent)
    return asked.reply(verdicts, flight.detail())


def ration(verdicts: Sequence[Verdict], pool: DevicePool) -> None:
    """Refuse what there is no device page for: the message's first GFNs come first.

    H_PARAMETER, or H_BUSY where device pages are on their way back or may be.
    """
    free = pool.free
    code = HCode.H_BUSY if pool.leaving or pool.reserved else HCode.H_PARAMETER
    wanting = [(verdict.codes == 0) & among(verdict.does, GfnAction.PAGE_IN) for verdict in verdicts]
    if sum(int(np.count_nonzero(want)) for want in wanting) <= free:
        return
    rows = [
        np.repeat(verdict.gfns.rows, verdict.gfns.counts)[want]
        for verdict, want in zip(verdicts, wanting, strict=True)
    ]
    late = np.argsort(np.concatenate(rows), kind="stable")[free:]
    start = 0
    for verdict, want in zip(verdicts, wanting, strict=True):
        places = np.flatnonzero(want)
        mine = late[(late >= start) & (late < start + len(places))] - start
        verdict.codes[places[mine]] = code
        start += len(places)


def carried(store: Store, verdict: Verdict) -> Mask:
    """Return which GFNs an ultracall has to carry; those that nobody ever touched are secured here.

    The Ultravisor's frame of such a GFN is zero already, as the page is.
    """
    moved = (verdict.codes == 0) & (verdict.does != GfnAction.NOTHING)
    slot, chosen = verdict.gfns.slot, verdict.gfns.selection
    untouched = among(verdict.before, HvGfnState.NORMAL) & ~slot.marked(chosen, HOST_POPULATED | SENT)
    marked = moved & untouched & among(verdict.does, GfnAction.PAGE_IN)
    part = verdict.part(marked)
    slot.state[part.offsets] = part.then
    store.pool.take(len(part.offsets))
    flown: Mask = moved & ~marked
    return flown
