"""The life of a GFN in the Ultravisor: what each call does to each of the 14 states.

SECURE: the bytes are in the frame. The SVM touches them, and UV_PAGE_IN where UV_ESM has asked for the page.
  Set by a page-in, an unshare that was granted and a share that is reverted. No normal page backs the GFN.
PAGEDOUT: normal memory has ciphertext; nobody touches plaintext. Set by UV_PAGE_OUT, cleared by a UV_PAGE_IN
  that is genuine. The frame is zero, and there is a record of the encryption.
SHARED: the bytes are in a normal page, which SVM and Hypervisor touch. Set at the commit of UV_SHARE_PAGE and
  by UV_PAGE_IN. Exactly one normal page backs the GFN; its frame is zero.
SHARED_INV: nobody touches bytes: UV_PAGE_INVAL took the normal page. The SVM's next access has the Hypervisor
  offer one. No normal page backs the GFN; its frame is zero.
SHARED_IMPLICIT, SHARED_IMPLICIT_INV: the same for the Ultravisor's own bounce pages, which UV_ESM shares. The
  SVM may not touch them.
PSEUDO_SHARED, PSEUDO_SHARED_INV: the SVM touches the frame, the Hypervisor a normal page of its own. Set by
  UV_ESM for the RTAS area. A normal page backs the GFN, or none (`_INV`); the frame keeps its bytes.
HV_SHARING: a share is open, and no page offered. Nobody touches bytes; the frame keeps them.
HV_SHARED, HV_SHARED_INV: a share is open, and a page was offered, or offered and withdrawn. The Ultravisor
  zeroes it; the frame keeps its bytes until the commit. A normal page backs the GFN, or none (`_INV`).
HV_UNSHARING, HV_UNSHARING_INV: an unshare is open, or a share is being reverted. Nobody touches bytes.
HV_UNSHARED: the Hypervisor has given the page up; the same step makes the GFN SECURE.
The last six are set and cleared by the SVM's own open call alone: without one no GFN is in them.

The first six columns are the calls that the Hypervisor and the SVM may make; the others are what the same
calls mean at special moments, and the ends of the Ultravisor's own calls.

Source: specification of the Ultravisor, sections 2.1-2.4, minus defects D2b, D6-D8, D10-D14; the document's
answers where it gives one (page-out of a shared page, sharing twice, unsharing a secure page).
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final, TypeAlias

import numpy as np

from pef_kit.core.table import Cell, Table
from pef_protocol.codes import UCode
from pef_protocol.states import UvGfnState as S


class Event(IntEnum):
    """What happens to a GFN."""

    PAGE_IN = 0
    PAGE_OUT = 1
    PAGE_INVAL = 2
    SHARE = 3
    UNSHARE = 4
    UNSHARE_ALL = 5
    PAGE_IN_REQUESTED = 6
    """UV_PAGE_IN while our own H_SVM_PAGE_IN for a GFN not yet imported is outstanding."""
    PAGE_IN_AT_DONE = 7
    """UV_PAGE_IN of a GFN never imported, while our H_SVM_INIT_DONE is outstanding."""
    PAGE_IN_PUSHED = 8
    """The same under `pushed`, where a shared page is what the Hypervisor must not send."""
    PAGE_OUT_ABORTED = 9
    """UV_PAGE_OUT, after a failed UV_ESM, of a page that the Hypervisor itself had given."""
    TOUCH = 10
    """The SVM loads or stores."""
    COMMIT_SHARED = 11
    COMMIT_IMPLICIT = 12
    COMMIT_PSEUDO = 13
    REVERT_SHARE = 14
    UNSHARE_GRANTED = 15
    COMMIT_UNSHARE = 16
    REVERT_UNSHARE = 17
    ABORT_SHARE = 18
    """The SVM is aborted while a share is open: its bytes stay in their frames."""
    PAGE_IN_PUSHED_VALID = 19
    """As PAGE_IN_PUSHED, where only a shared page with a mapping must not be sent."""
    PAGE_IN_PUSHED_INVALIDATED = 20
    """As PAGE_IN_PUSHED, where only one without a mapping must not."""
    PAGE_IN_BARRED = 21
    """UV_PAGE_IN at any time under a policy of `pushed` that has it refused for shared pages."""
    UNSHARE_BUSY = 22
    """The Hypervisor was busy: an unshare has not begun. For GFNs that still have their normal page."""


class Action(IntEnum):
    """What has to be done for a GFN before it gets its next state."""

    NOTHING = 0
    IMPORT = 1
    """Copy the normal page into the frame, as it is."""
    DECRYPT = 2
    """Decrypt the normal page into the frame, or refuse it."""
    ENCRYPT = 3
    """Encrypt the frame into the normal page."""
    RESTORE_CLEARTEXT = 4
    """Copy the frame into the normal page, in clear."""
    MAP = 5
    """Take the normal page as the one that backs the GFN."""
    UNMAP = 6
    """Forget the normal page."""
    REQUEST_CHANGE = 7
    """Ask the Hypervisor for the change of owner."""
    PAGE_IN = 8
    """First bring a paged-out page back."""
    PAGE_IN_SHARED = 9
    """First bring an invalidated shared page back."""
    ZERO = 10
    """Zero the normal page."""
    SCRUB = 11
    """Zero the frame."""
    WAIT = 12
    """Wait until another call has finished with the GFN."""
    USE_FRAME = 13
    """The access goes to the frame."""
    USE_NORMAL = 14
    """The access goes to the normal page."""
    DENY = 15
    """The access fails."""


GfnCell: TypeAlias = Cell[S, Action]

OPEN_CALLS: Final = (
    S.HV_SHARING,
    S.HV_SHARED,
    S.HV_SHARED_INV,
    S.HV_UNSHARING,
    S.HV_UNSHARING_INV,
    S.HV_UNSHARED,
)
"""The transient states: a GFN is in one only while a call of the SVM is open."""

SHARED_STATES: Final = (
    S.SHARED,
    S.SHARED_INV,
    S.SHARED_IMPLICIT,
    S.SHARED_IMPLICIT_INV,
    S.PSEUDO_SHARED,
    S.PSEUDO_SHARED_INV,
)

VALID: Final = (S.SHARED, S.SHARED_IMPLICIT, S.PSEUDO_SHARED)
INVALIDATED: Final = (S.SHARED_INV, S.SHARED_IMPLICIT_INV, S.PSEUDO_SHARED_INV)
"""A shared page has a mapping, or its normal page was taken away."""

BACKED: Final = (S.SHARED, S.SHARED_IMPLICIT, S.PSEUDO_SHARED, S.HV_SHARED, S.HV_UNSHARING)
"""States in which a normal page may back the GFN. HV_UNSHARING may also have lost it."""

_OK, _BUSY = UCode.U_SUCCESS, UCode.U_BUSY


def _to(state: S, action: Action = Action.NOTHING) -> GfnCell:
    return Cell(state, _OK, action)


def _kept(*states: S, code: UCode = _OK, action: Action = Action.NOTHING) -> dict[S, GfnCell]:
    return {state: Cell(state, code, action) for state in states}


_BUSY_WHILE_OPEN: Final = _kept(*OPEN_CALLS, code=_BUSY, action=Action.WAIT)

_PAGE_IN: Final[Mapping[S, GfnCell]] = {
    **_kept(S.SECURE, code=UCode.U_P2),
    S.PAGEDOUT: _to(S.SECURE, Action.DECRYPT),
    S.SHARED: _to(S.SHARED, Action.MAP),
    S.SHARED_INV: _to(S.SHARED, Action.MAP),
    S.SHARED_IMPLICIT: _to(S.SHARED_IMPLICIT, Action.MAP),
    S.SHARED_IMPLICIT_INV: _to(S.SHARED_IMPLICIT, Action.MAP),
    S.PSEUDO_SHARED: _to(S.PSEUDO_SHARED, Action.MAP),
    S.PSEUDO_SHARED_INV: _to(S.PSEUDO_SHARED, Action.MAP),
    S.HV_SHARING: _to(S.HV_SHARED, Action.MAP),
    S.HV_SHARED: _to(S.HV_SHARED, Action.MAP),
    S.HV_SHARED_INV: _to(S.HV_SHARED, Action.MAP),
    S.HV_UNSHARING: _to(S.HV_UNSHARING),
    S.HV_UNSHARING_INV: _to(S.HV_UNSHARING),
    **_kept(S.HV_UNSHARED, code=UCode.U_P2),
}
_PAGE_OUT: Final[Mapping[S, GfnCell]] = {
    S.SECURE: _to(S.PAGEDOUT, Action.ENCRYPT),
    **_kept(S.PAGEDOUT, code=UCode.U_PARAMETER),
    **_kept(*SHARED_STATES),
    **_BUSY_WHILE_OPEN,
}
_IMPORTS: Final[Mapping[S, GfnCell]] = {**_PAGE_IN, S.SECURE: _to(S.SECURE, Action.IMPORT)}

CELLS: Final[Mapping[Event, Mapping[S, GfnCell]]] = {
    Event.PAGE_IN: _PAGE_IN,
    Event.PAGE_OUT: _PAGE_OUT,
    Event.PAGE_INVAL: {
        **_kept(S.SECURE, S.PAGEDOUT, code=UCode.U_P2),
        S.SHARED: _to(S.SHARED_INV, Action.UNMAP),
        S.SHARED_IMPLICIT: _to(S.SHARED_IMPLICIT_INV, Action.UNMAP),
        S.PSEUDO_SHARED: _to(S.PSEUDO_SHARED_INV, Action.UNMAP),
        **_kept(S.SHARED_INV, S.SHARED_IMPLICIT_INV, S.PSEUDO_SHARED_INV),
        **_kept(S.HV_SHARING, code=UCode.U_P2),
        S.HV_SHARED: _to(S.HV_SHARED_INV, Action.UNMAP),
        **_kept(S.HV_SHARED_INV),
        S.HV_UNSHARING: _to(S.HV_UNSHARING_INV, Action.UNMAP),
        **_kept(S.HV_UNSHARING_INV),
        **_kept(S.HV_UNSHARED, code=UCode.U_P2),
    },
    Event.SHARE: {
        S.SECURE: _to(S.HV_SHARING, Action.REQUEST_CHANGE),
        **_kept(S.PAGEDOUT, action=Action.PAGE_IN),
        **_kept(S.SHARED, action=Action.ZERO),
        **_kept(S.SHARED_INV, action=Action.PAGE_IN_SHARED),
        **_kept(S.SHARED_IMPLICIT, S.SHARED_IMPLICIT_INV, S.PSEUDO_SHARED, S.PSEUDO_SHARED_INV),
        **_BUSY_WHILE_OPEN,
    },
    Event.UNSHARE: {
        **_kept(S.SECURE, action=Action.SCRUB),
        **_kept(S.PAGEDOUT, action=Action.PAGE_IN),
        S.SHARED: _to(S.HV_UNSHARING, Action.REQUEST_CHANGE),
        S.SHARED_INV: _to(S.HV_UNSHARING_INV, Action.REQUEST_CHANGE),
        **_kept(S.SHARED_IMPLICIT, S.SHARED_IMPLICIT_INV, code=UCode.U_P2),
        **_kept(S.PSEUDO_SHARED, S.PSEUDO_SHARED_INV, code=UCode.U_P2),
        **_BUSY_WHILE_OPEN,
    },
    Event.UNSHARE_ALL: {
        **_kept(S.SECURE, S.PAGEDOUT),
        S.SHARED: _to(S.HV_UNSHARING, Action.REQUEST_CHANGE),
        S.SHARED_INV: _to(S.HV_UNSHARING_INV, Action.REQUEST_CHANGE),
        **_kept(S.SHARED_IMPLICIT, S.SHARED_IMPLICIT_INV, S.PSEUDO_SHARED, S.PSEUDO_SHARED_INV),
        **_BUSY_WHILE_OPEN,
    },
    Event.PAGE_IN_REQUESTED: _IMPORTS,
    Event.PAGE_IN_AT_DONE: _IMPORTS,
    Event.PAGE_IN_PUSHED: {**_IMPORTS, **_kept(*SHARED_STATES, code=UCode.U_P2)},
    Event.PAGE_OUT_ABORTED: {**_PAGE_OUT, S.SECURE: _to(S.SECURE, Action.RESTORE_CLEARTEXT)},
    Event.TOUCH: {
        **_kept(S.SECURE, S.PSEUDO_SHARED, S.PSEUDO_SHARED_INV, action=Action.USE_FRAME),
        **_kept(S.SHARED, action=Action.USE_NORMAL),
        **_kept(S.PAGEDOUT, action=Action.PAGE_IN),
        **_kept(S.SHARED_INV, action=Action.PAGE_IN_SHARED),
        **_kept(S.SHARED_IMPLICIT, S.SHARED_IMPLICIT_INV, action=Action.DENY),
        **_BUSY_WHILE_OPEN,
    },
    Event.COMMIT_SHARED: {
        **_kept(*S),
        S.HV_SHARED: _to(S.SHARED, Action.SCRUB),
        S.HV_SHARED_INV: _to(S.SHARED_INV, Action.SCRUB),
    },
    Event.COMMIT_IMPLICIT: {
        **_kept(*S),
        S.HV_SHARED: _to(S.SHARED_IMPLICIT, Action.SCRUB),
        S.HV_SHARED_INV: _to(S.SHARED_IMPLICIT_INV, Action.SCRUB),
    },
    Event.COMMIT_PSEUDO: {
        **_kept(*S),
        S.HV_SHARED: _to(S.PSEUDO_SHARED),
        S.HV_SHARED_INV: _to(S.PSEUDO_SHARED_INV),
    },
    Event.REVERT_SHARE: {
        **_kept(*S),
        S.HV_SHARING: _to(S.SECURE),
        S.HV_SHARED: _to(S.HV_UNSHARING, Action.UNMAP),
        S.HV_SHARED_INV: _to(S.HV_UNSHARING),
    },
    Event.UNSHARE_GRANTED: {
        **_kept(*S),
        S.HV_UNSHARING: _to(S.HV_UNSHARED, Action.UNMAP),
        S.HV_UNSHARING_INV: _to(S.HV_UNSHARED),
    },
    Event.COMMIT_UNSHARE: {**_kept(*S), S.HV_UNSHARED: _to(S.SECURE)},
    Event.REVERT_UNSHARE: {
        **_kept(*S),
        S.HV_UNSHARING: _to(S.SHARED_INV, Action.UNMAP),
        S.HV_UNSHARING_INV: _to(S.SHARED_INV),
        S.HV_UNSHARED: _to(S.SHARED_INV),
    },
    Event.ABORT_SHARE: {
        **_kept(*S),
        **{state: _to(S.SECURE, Action.UNMAP) for state in OPEN_CALLS},
    },
    Event.PAGE_IN_PUSHED_VALID: {**_IMPORTS, **_kept(*VALID, code=UCode.U_P2)},
    Event.PAGE_IN_PUSHED_INVALIDATED: {**_IMPORTS, **_kept(*INVALIDATED, code=UCode.U_P2)},
    Event.PAGE_IN_BARRED: {**_PAGE_IN, **_kept(*SHARED_STATES, code=UCode.U_P2)},
    Event.UNSHARE_BUSY: {**_kept(*S), S.HV_UNSHARING: _to(S.SHARED)},
}

GFN: Final = Table(S, Event, CELLS)

OPERATIONS: Final = tuple(Event)[:6]
"""The six operations that a call may perform on a GFN: the columns of the specification's table."""


def lookup(states: tuple[S, ...]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return an array that tells, by state number, whether the state is one of `states`."""
    chosen = np.zeros(len(S), np.bool_)
    chosen[list(states)] = True
    return chosen


IS_TRANSIENT: Final = lookup(OPEN_CALLS)
IS_BACKED: Final = lookup(BACKED)
IS_AWAY: Final = lookup((S.PAGEDOUT, S.SHARED_INV))
