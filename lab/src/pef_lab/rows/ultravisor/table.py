"""What each of six operations does to a GFN in each of 14 states, as the documents have it.

A cell: the code, the next state, then what is seen: what the guest reads, and what lies in the normal
page that the call is about (the one offered or aimed at by UV_PAGE_IN and UV_PAGE_OUT, else the one that
backed the GFN). Where a page has no mapping or is out, it is brought back before the guest reads. In a
transient state, which lasts as long as a call of the guest is open, both are what is seen when that call
has ended.

Source: specification of the Ultravisor, 2.2 and 2.3, minus defects D6, D7, D10-D14; decisions,
"UV_PAGE_OUT of a shared GFN", "sharing a shared page", "a share whose offer was withdrawn", "a GFN with a
hypercall outstanding".
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from pef_lab.rows.ultravisor.seen import Word
from pef_protocol.codes import UCode
from pef_protocol.states import UvGfnState as S


class Operation(StrEnum):
    """An operation on a GFN, by the call that performs it."""

    PAGE_IN = "UV_PAGE_IN"
    PAGE_OUT = "UV_PAGE_OUT"
    PAGE_INVAL = "UV_PAGE_INVAL"
    SHARE = "UV_SHARE_PAGE"
    UNSHARE = "UV_UNSHARE_PAGE"
    UNSHARE_ALL = "UV_UNSHARE_ALL_PAGES"


GUESTS: Final = frozenset({Operation.SHARE, Operation.UNSHARE, Operation.UNSHARE_ALL})
"""Operations of the guest; the others are the Hypervisor's."""
TRANSIENT: Final = (
    S.HV_SHARING,
    S.HV_SHARED,
    S.HV_SHARED_INV,
    S.HV_UNSHARING,
    S.HV_UNSHARING_INV,
    S.HV_UNSHARED,
)
SHARES: Final = frozenset({S.HV_SHARING, S.HV_SHARED, S.HV_SHARED_INV})
"""Transient states of a share; the other transient ones are of an unshare."""
IMPLICIT: Final = (S.SHARED_IMPLICIT, S.SHARED_IMPLICIT_INV)
PSEUDO: Final = (S.PSEUDO_SHARED, S.PSEUDO_SHARED_INV)
INVALID: Final = {
    S.SHARED: S.SHARED_INV,
    S.SHARED_IMPLICIT: S.SHARED_IMPLICIT_INV,
    S.PSEUDO_SHARED: S.PSEUDO_SHARED_INV,
    S.HV_SHARED: S.HV_SHARED_INV,
    S.HV_UNSHARING: S.HV_UNSHARING_INV,
}
"""What UV_PAGE_INVAL makes of a state."""

TEXT, MAIL, OFFER, ZERO = Word.TEXT, Word.MAIL, Word.OFFER, Word.ZERO
SEALED, NOTHING = Word.SEALED, Word.NOTHING


class Cell(NamedTuple):
    """What an operation does to a GFN in one state."""

    code: UCode
    then: S
    guest: Word
    page: Word


def _ok(then: S, guest: Word, page: Word) -> Cell:
    return Cell(UCode.U_SUCCESS, then, guest, page)


_SIGHT: Final[Mapping[S, tuple[Word, Word]]] = {
    S.SECURE: (TEXT, NOTHING),
    S.PAGEDOUT: (TEXT, NOTHING),
    S.SHARED: (MAIL, MAIL),
    S.SHARED_INV: (MAIL, MAIL),
    **dict.fromkeys(IMPLICIT, (NOTHING, MAIL)),
    **dict.fromkeys(PSEUDO, (TEXT, MAIL)),
    S.HV_SHARING: (ZERO, ZERO),
    S.HV_SHARED: (ZERO, ZERO),
    S.HV_SHARED_INV: (MAIL, MAIL),
    S.HV_UNSHARING: (ZERO, MAIL),
    S.HV_UNSHARING_INV: (ZERO, MAIL),
    S.HV_UNSHARED: (ZERO, MAIL),
}
"""What guest and host see where nothing happens to a GFN. A shared page is zero when it changes its owner."""


def _kept(*states: S, code: UCode = UCode.U_SUCCESS, page: Word | None = None) -> dict[S, Cell]:
    """Return cells in which nothing happens; `page` is what lies in a page that the call names itself."""
    return {state: Cell(code, state, _SIGHT[state][0], page or _SIGHT[state][1]) for state in states}


def _brought(*states: S, to: S, guest: Word, page: Word) -> dict[S, Cell]:
    return {state: _ok(to, guest, page) for state in states}


ENDS: Final[Mapping[S, S]] = {
    S.HV_SHARING: S.SHARED,
    S.HV_SHARED: S.SHARED,
    S.HV_SHARED_INV: S.SHARED_INV,
    S.HV_UNSHARING: S.SECURE,
    S.HV_UNSHARING_INV: S.SECURE,
    S.HV_UNSHARED: S.SECURE,
}
"""In which state a GFN is when the open call has ended, the Hypervisor being honest."""

CELLS: Final[Mapping[Operation, Mapping[S, Cell]]] = {
    Operation.PAGE_IN: {
        **_kept(S.SECURE, code=UCode.U_P2, page=OFFER),
        S.PAGEDOUT: _ok(S.SECURE, TEXT, SEALED),
        **_brought(S.SHARED, S.SHARED_INV, to=S.SHARED, guest=OFFER, page=OFFER),
        **_brought(*IMPLICIT, to=S.SHARED_IMPLICIT, guest=NOTHING, page=OFFER),
        **_brought(*PSEUDO, to=S.PSEUDO_SHARED, guest=TEXT, page=OFFER),
        **_brought(*sorted(SHARES), to=S.HV_SHARED, guest=ZERO, page=ZERO),
        **_brought(S.HV_UNSHARING, S.HV_UNSHARING_INV, to=S.HV_UNSHARING, guest=ZERO, page=OFFER),
        **_kept(S.HV_UNSHARED, code=UCode.U_P2, page=OFFER),
    },
    Operation.PAGE_OUT: {
        S.SECURE: _ok(S.PAGEDOUT, TEXT, SEALED),
        **_kept(S.PAGEDOUT, code=UCode.U_PARAMETER, page=OFFER),
        **_kept(S.SHARED, S.SHARED_INV, *IMPLICIT, *PSEUDO, page=OFFER),
        **_kept(*TRANSIENT, code=UCode.U_BUSY, page=OFFER),
    },
    Operation.PAGE_INVAL: {
        **_kept(S.SECURE, S.PAGEDOUT, S.HV_SHARING, S.HV_UNSHARED, code=UCode.U_P2),
        **{state: _ok(then, *_SIGHT[then]) for state, then in INVALID.items()},
        **_kept(*INVALID.values()),
    },
    Operation.SHARE: {
        **_brought(S.SECURE, S.PAGEDOUT, to=S.SHARED, guest=ZERO, page=NOTHING),
        S.SHARED: _ok(S.SHARED, ZERO, ZERO),
        S.SHARED_INV: _ok(S.SHARED, ZERO, MAIL),
        **_kept(*IMPLICIT, *PSEUDO),
        **_kept(*TRANSIENT, code=UCode.U_BUSY),
    },
    Operation.UNSHARE: {
        **_brought(S.SECURE, S.PAGEDOUT, to=S.SECURE, guest=ZERO, page=NOTHING),
        **_brought(S.SHARED, S.SHARED_INV, to=S.SECURE, guest=ZERO, page=MAIL),
        **_kept(*IMPLICIT, *PSEUDO, code=UCode.U_P2),
        **_kept(*TRANSIENT, code=UCode.U_BUSY),
    },
    Operation.UNSHARE_ALL: {
        **_kept(S.SECURE, S.PAGEDOUT),
        **_brought(S.SHARED, S.SHARED_INV, to=S.SECURE, guest=ZERO, page=MAIL),
        **_kept(*IMPLICIT, *PSEUDO),
        **_kept(*TRANSIENT, code=UCode.U_BUSY),
    },
}
"""The cells, by operation and state."""

if any(set(by_state) != set(S) for by_state in CELLS.values()) or set(CELLS) != set(Operation):
    message = "the table of GFN states lacks a cell"
    raise ImportError(message)
