"""UV_PAGE_INVAL: the normal page behind a shared guest page is going away.

From this call's success on, nothing of ours maps that page. The next access asks for one again.

Source: ultravisor.rst, UV_PAGE_INVAL; decisions, "UV_PAGE_INVAL bad address".
"""

from typing import Final

import numpy as np

from pef_kit.columns import GfnSet
from pef_kit.ladder import Ladder
from pef_kit.operations import Operation
from pef_kit.refusals import Refusals
from pef_kit.spans import among
from pef_protocol import ladders
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.ultracalls import PageInval
from pef_protocol.wire import Caller
from pef_ultravisor.from_hypervisor import paging as rungs
from pef_ultravisor.from_hypervisor.paging import Paging
from pef_ultravisor.gfn.columns import FrameSlot
from pef_ultravisor.gfn.table import GFN, Deed, Event
from pef_ultravisor.state import Ultravisor

LADDER: Final = Ladder(
    ladders.PAGE_INVAL,
    {
        "caller": rungs.from_hypervisor,
        "order": rungs.order_is_known,
        "lpid": rungs.names_an_svm,
        "aborted": rungs.not_aborted,
        "gpa": rungs.in_one_slot,
    },
)


def uv_page_inval(uv: Ultravisor, caller: Caller, asked: PageInval) -> Operation[Reply]:
    """Answer UV_PAGE_INVAL."""
    # parameters
    paging = Paging(uv, caller, asked)

    # checks
    refused_whole, codes = LADDER.climb_runs(paging, paging.runs)
    refusals = paging.refusals
    refusals.add_runs(codes)

    # effect
    for gfns in paging.gfn_sets(codes):
        unmap(uv, gfns, refusals)

    # reply
    yield from ()
    return refusals.reply(refused_whole)


def unmap(uv: Ultravisor, gfns: GfnSet[FrameSlot], refusals: Refusals) -> None:
    """Take their normal pages from the GFNs of a set, as far as their states allow it."""
    slot, chosen = gfns.slot, gfns.selection
    judgement = rungs.judged(gfns, GFN.judge(Event.PAGE_INVAL, slot.state[chosen]))
    offsets = gfns.each_offset()
    lost = offsets[among(judgement.does, Deed.UNMAP)]
    uv.normal_pages.give_back(slot.normal[lost])
    slot.normal[lost] = 0
    settled = among(judgement.code, UCode.U_SUCCESS)
    slot.put(offsets[settled], judgement.then[settled])
    refusals.add_pages(gfns, np.where(settled, 0, judgement.code))
