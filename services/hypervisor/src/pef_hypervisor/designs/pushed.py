"""`pushed`: two states; at H_SVM_INIT_DONE all that is not held as secure is sent by UV_PAGE_IN.

The Ultravisor, which knows the shared ones, refuses those with U_P2; they stay as they are. When exactly it
does is its own business: to this side all readings are one. Those that are paged out, and for which it has
no room (U_RETRY), stay as well: they come when they are used.

`pushed-fixed` is the same with one cell more and one step earlier. With two states a page that was paged out
during a UV_ESM that fails can't be told from a shared one, so `pushed` scrubs both; the Ultravisor, which is
there to be asked until H_SVM_INIT_ABORT is answered, can tell. And the GFNs of a plugged slot are marked
before the Ultravisor hears of it, for afterwards the guest may have shared one.
"""

from dataclasses import replace
from typing import Final

from pef_hypervisor.designs.rules import TWO_STATES, Rules
from pef_hypervisor.gfn.table import LAW, GfnAction, GfnEvent, N, S, folded, gfn_table, to, varied
from pef_protocol.codes import UCode
from pef_protocol.designs import Design

_LAW: Final = folded(varied(LAW, {GfnEvent.INIT_DONE: {N: to(S, GfnAction.PAGE_IN)}}))

PUSHED: Final = Rules(
    Design.PUSHED, gfn_table(_LAW), TWO_STATES, leaves=frozenset({UCode.U_P2, UCode.U_RETRY})
)
READINGS: Final = (
    PUSHED,
    replace(PUSHED, design=Design.PUSHED_VALID),
    replace(PUSHED, design=Design.PUSHED_INVALIDATED),
    replace(PUSHED, design=Design.PUSHED_ALWAYS),
    replace(PUSHED, design=Design.PUSHED_UNASKED),
)
FIXED: Final = replace(
    PUSHED,
    design=Design.PUSHED_FIXED,
    table=gfn_table(varied(_LAW, {GfnEvent.INIT_ABORT: {N: to(N, GfnAction.RESTORE_STAND_IN)}})),
    plugged_secure=True,
)
