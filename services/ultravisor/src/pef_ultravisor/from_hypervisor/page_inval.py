"""UV_PAGE_INVAL: the normal page behind a shared guest page is going away.

From this call's success on, nothing of ours maps that page. The next access asks for one again.

Source: ultravisor.rst, UV_PAGE_INVAL; decisions, "UV_PAGE_INVAL bad address".
"""

from typing import Final

from pef_kit.core.checks import CheckOrder
from pef_kit.core.effects import Operation
from pef_kit.core.runs import isin
from pef_protocol import check_orders
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.http import Caller
from pef_protocol.ultracalls import PageInval
from pef_ultravisor import checks
from pef_ultravisor.checks import Paging
from pef_ultravisor.gfn.table import GFN, Action, Event
from pef_ultravisor.memory.normal_pages import unmap
from pef_ultravisor.state import Ultravisor

CHECKS: Final = CheckOrder[Paging[PageInval]](
    check_orders.PAGE_INVAL,
    {
        "caller": checks.from_hypervisor,
        "order": checks.order_is_known,
        "lpid": checks.names_an_svm,
        "aborted": checks.not_aborted,
        "gpa": checks.in_one_slot,
    },
)


def uv_page_inval(uv: Ultravisor, caller: Caller, asked: PageInval) -> Operation[Reply]:
    """Answer UV_PAGE_INVAL."""
    # parameters
    call = Paging(uv, caller, asked)
    refusals = call.new_refusals(check_orders.PAGE_INVAL)

    # checks
    refused, codes = CHECKS.check_runs(call, call.runs)
    refusals.add_runs(codes)
    if refused or codes.all():
        return refusals.reply(refused)

    # effect
    for gfns in call.gfn_sets(codes):
        slot, offsets = gfns.slot, gfns.each_offset()
        judged = checks.judged(gfns, GFN.judge(Event.PAGE_INVAL, slot.state[gfns.selection]))
        unmap(uv.normal_pages, slot, offsets[isin(judged.action, Action.UNMAP)])
        done = isin(judged.code, UCode.U_SUCCESS)
        slot.put(offsets[done], judged.next_state[done])
        refusals.add_pages(gfns, judged.code, by_table=True)

    # reply
    yield from ()
    return refusals.reply()
