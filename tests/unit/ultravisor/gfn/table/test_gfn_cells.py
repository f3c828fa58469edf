"""Every cell of the table: 14 states, 6 operations, through the handlers themselves.

A row says what becomes of a GFN: the code, the next state, what its frame holds, which normal page backs it,
and what the normal page holds that the call is about: the one offered or aimed at (UV_PAGE_IN and
UV_PAGE_OUT), else the GFN's own. The Hypervisor is honest.

| word | means |
|---|---|
| text | what the SVM wrote into its page |
| mail | what lay in the shared page |
| offer | what lay in the page that the Hypervisor offers or aims at |
| cipher | none of the above, and not zero |
| own, new, - | backed by the GFN's own normal page, by the page offered, by none |

Source: specification of the Ultravisor, 2.2 and 2.3, as the decisions change it.
"""

import pytest

from harness.scripted_hypervisor import HYPERVISOR, ScriptedHypervisor, guest
from harness.ultravisor_fixtures import (
    LPID,
    ZERO,
    frame_of,
    machine,
    mapped,
    put,
    secure_vm,
    sound,
    state_of,
    svm_of,
    text,
)
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.quantities import PAGE_ORDER, Gfn, Lpid
from pef_protocol.runs import PageRuns, PlacedRuns
from pef_protocol.states import UvGfnState as S
from pef_protocol.states import UvVmState
from pef_protocol.ultracalls import PageIn, PageInval, PageOut, SharePage, UnshareAllPages, UnsharePage

GFN = 18
AT = GFN << PAGE_ORDER
TABLE = """
call          state                code         then                 frame  maps  page

PAGE_IN       SECURE               U_P2         SECURE               text   -     offer
PAGE_IN       PAGEDOUT             U_SUCCESS    SECURE               text   -     cipher
PAGE_IN       SHARED               U_SUCCESS    SHARED               zero   new   offer
PAGE_IN       SHARED_INV           U_SUCCESS    SHARED               zero   new   offer
PAGE_IN       SHARED_IMPLICIT      U_SUCCESS    SHARED_IMPLICIT      zero   new   offer
PAGE_IN       SHARED_IMPLICIT_INV  U_SUCCESS    SHARED_IMPLICIT      zero   new   offer
PAGE_IN       PSEUDO_SHARED        U_SUCCESS    PSEUDO_SHARED        text   new   offer
PAGE_IN       PSEUDO_SHARED_INV    U_SUCCESS    PSEUDO_SHARED        text   new   offer
PAGE_IN       HV_SHARING           U_SUCCESS    HV_SHARED            text   new   offer
PAGE_IN       HV_SHARED            U_SUCCESS    HV_SHARED            text   new   offer
PAGE_IN       HV_SHARED_INV        U_SUCCESS    HV_SHARED            text   new   offer
PAGE_IN       HV_UNSHARING         U_SUCCESS    HV_UNSHARING         zero   own   offer
PAGE_IN       HV_UNSHARING_INV     U_SUCCESS    HV_UNSHARING         zero   -     offer
PAGE_IN       HV_UNSHARED          U_P2         HV_UNSHARED          zero   -     offer

PAGE_OUT      SECURE               U_SUCCESS    PAGEDOUT             zero   -     cipher
PAGE_OUT      PAGEDOUT             U_PARAMETER  PAGEDOUT             zero   -     offer
PAGE_OUT      SHARED               U_SUCCESS    SHARED               zero   own   offer
PAGE_OUT      SHARED_INV           U_SUCCESS    SHARED_INV           zero   -     offer
PAGE_OUT      SHARED_IMPLICIT      U_SUCCESS    SHARED_IMPLICIT      zero   own   offer
PAGE_OUT      SHARED_IMPLICIT_INV  U_SUCCESS    SHARED_IMPLICIT_INV  zero   -     offer
PAGE_OUT      PSEUDO_SHARED        U_SUCCESS    PSEUDO_SHARED        text   own   offer
PAGE_OUT      PSEUDO_SHARED_INV    U_SUCCESS    PSEUDO_SHARED_INV    text   -     offer
PAGE_OUT      HV_SHARING           U_BUSY       HV_SHARING           text   -     offer
PAGE_OUT      HV_SHARED            U_BUSY       HV_SHARED            text   own   offer
PAGE_OUT      HV_SHARED_INV        U_BUSY       HV_SHARED_INV        text   -     offer
PAGE_OUT      HV_UNSHARING         U_BUSY       HV_UNSHARING         zero   own   offer
PAGE_OUT      HV_UNSHARING_INV     U_BUSY       HV_UNSHARING_INV     zero   -     offer
PAGE_OUT      HV_UNSHARED          U_BUSY       HV_UNSHARED          zero   -     offer

PAGE_INVAL    SECURE               U_P2         SECURE               text   -     zero
PAGE_INVAL    PAGEDOUT             U_P2         PAGEDOUT             zero   -     cipher
PAGE_INVAL    SHARED               U_SUCCESS    SHARED_INV           zero   -     mail
PAGE_INVAL    SHARED_INV           U_SUCCESS    SHARED_INV           zero   -     mail
PAGE_INVAL    SHARED_IMPLICIT      U_SUCCESS    SHARED_IMPLICIT_INV  zero   -     mail
PAGE_INVAL    SHARED_IMPLICIT_INV  U_SUCCESS    SHARED_IMPLICIT_INV  zero   -     mail
PAGE_INVAL    PSEUDO_SHARED        U_SUCCESS    PSEUDO_SHARED_INV    text   -     mail
PAGE_INVAL    PSEUDO_SHARED_INV    U_SUCCESS    PSEUDO_SHARED_INV    text   -     mail
PAGE_INVAL    HV_SHARING           U_P2         HV_SHARING           text   -     zero
PAGE_INVAL    HV_SHARED            U_SUCCESS    HV_SHARED_INV        text   -     mail
PAGE_INVAL    HV_SHARED_INV        U_SUCCESS    HV_SHARED_INV        text   -     mail
PAGE_INVAL    HV_UNSHARING         U_SUCCESS    HV_UNSHARING_INV     zero   -     mail
PAGE_INVAL    HV_UNSHARING_INV     U_SUCCESS    HV_UNSHARING_INV     zero   -     mail
PAGE_INVAL    HV_UNSHARED          U_P2         HV_UNSHARED          zero   -     mail

SHARE         SECURE               U_SUCCESS    SHARED               zero   own   zero
SHARE         PAGEDOUT             U_SUCCESS    SHARED               zero   own   zero
SHARE         SHARED               U_SUCCESS    SHARED               zero   own   zero
SHARE         SHARED_INV           U_SUCCESS    SHARED               zero   own   zero
SHARE         SHARED_IMPLICIT      U_SUCCESS    SHARED_IMPLICIT      zero   own   mail
SHARE         SHARED_IMPLICIT_INV  U_SUCCESS    SHARED_IMPLICIT_INV  zero   -     mail
SHARE         PSEUDO_SHARED        U_SUCCESS    PSEUDO_SHARED        text   own   mail
SHARE         PSEUDO_SHARED_INV    U_SUCCESS    PSEUDO_SHARED_INV    text   -     mail
SHARE         HV_SHARING           U_BUSY       HV_SHARING           text   -     zero
SHARE         HV_SHARED            U_BUSY       HV_SHARED            text   own   mail
SHARE         HV_SHARED_INV        U_BUSY       HV_SHARED_INV        text   -     mail
SHARE         HV_UNSHARING         U_BUSY       HV_UNSHARING         zero   own   mail
SHARE         HV_UNSHARING_INV     U_BUSY       HV_UNSHARING_INV     zero   -     mail
SHARE         HV_UNSHARED          U_BUSY       HV_UNSHARED          zero   -     mail

UNSHARE       SECURE               U_SUCCESS    SECURE               zero   -     zero
UNSHARE       PAGEDOUT             U_SUCCESS    SECURE               zero   -     zero
UNSHARE       SHARED               U_SUCCESS    SECURE               zero   -     zero
UNSHARE       SHARED_INV           U_SUCCESS    SECURE               zero   -     zero
UNSHARE       SHARED_IMPLICIT      U_P2         SHARED_IMPLICIT      zero   own   mail
UNSHARE       SHARED_IMPLICIT_INV  U_P2         SHARED_IMPLICIT_INV  zero   -     mail
UNSHARE       PSEUDO_SHARED        U_P2         PSEUDO_SHARED        text   own   mail
UNSHARE       PSEUDO_SHARED_INV    U_P2         PSEUDO_SHARED_INV    text   -     mail
UNSHARE       HV_SHARING           U_BUSY       HV_SHARING           text   -     zero
UNSHARE       HV_SHARED            U_BUSY       HV_SHARED            text   own   mail
UNSHARE       HV_SHARED_INV        U_BUSY       HV_SHARED_INV        text   -     mail
UNSHARE       HV_UNSHARING         U_BUSY       HV_UNSHARING         zero   own   mail
UNSHARE       HV_UNSHARING_INV     U_BUSY       HV_UNSHARING_INV     zero   -     mail
UNSHARE       HV_UNSHARED          U_BUSY       HV_UNSHARED          zero   -     mail

UNSHARE_ALL   SECURE               U_SUCCESS    SECURE               text   -     zero
UNSHARE_ALL   PAGEDOUT             U_SUCCESS    PAGEDOUT             zero   -     cipher
UNSHARE_ALL   SHARED               U_SUCCESS    SECURE               zero   -     zero
UNSHARE_ALL   SHARED_INV           U_SUCCESS    SECURE               zero   -     zero
UNSHARE_ALL   SHARED_IMPLICIT      U_SUCCESS    SHARED_IMPLICIT      zero   own   mail
UNSHARE_ALL   SHARED_IMPLICIT_INV  U_SUCCESS    SHARED_IMPLICIT_INV  zero   -     mail
UNSHARE_ALL   PSEUDO_SHARED        U_SUCCESS    PSEUDO_SHARED        text   own   mail
UNSHARE_ALL   PSEUDO_SHARED_INV    U_SUCCESS    PSEUDO_SHARED_INV    text   -     mail
UNSHARE_ALL   HV_SHARING           U_BUSY       HV_SHARING           text   -     zero
UNSHARE_ALL   HV_SHARED            U_BUSY       HV_SHARED            text   own   mail
UNSHARE_ALL   HV_SHARED_INV        U_BUSY       HV_SHARED_INV        text   -     mail
UNSHARE_ALL   HV_UNSHARING         U_BUSY       HV_UNSHARING         zero   own   mail
UNSHARE_ALL   HV_UNSHARING_INV     U_BUSY       HV_UNSHARING_INV     zero   -     mail
UNSHARE_ALL   HV_UNSHARED          U_BUSY       HV_UNSHARED          zero   -     mail
"""
ROWS = [tuple(line.split()) for line in TABLE.splitlines() if line.strip()][1:]
CALLS = ("PAGE_IN", "PAGE_OUT", "PAGE_INVAL", "SHARE", "UNSHARE", "UNSHARE_ALL")
BY_REFERENCE = {text("text"): "text", text("mail"): "mail", text("offer"): "offer", ZERO: "zero"}


def fixture(state: S) -> tuple[ScriptedHypervisor, int]:
    """Return a machine whose GFN is in a state, and the address of a page to offer or to aim at."""
    hv = machine()
    secure_vm(hv)
    put(hv, GFN, state, frame=text("text"), page=text("mail"))
    offered = hv.spare()
    sealed = state is S.PAGEDOUT
    hv.fill(offered, hv.page(hv.ra(LPID, GFN)) if sealed else text("offer"))
    return hv, offered


def make(hv: ScriptedHypervisor, call: str, offered: int) -> Reply:
    """Make one of the six calls for the GFN."""
    lpid, runs = Lpid(LPID), PlacedRuns.of((offered, AT, 1))
    if call == "PAGE_OUT":
        hv.fill(offered, text("offer"))
    requests = {
        "PAGE_IN": PageIn(lpid, runs, 0, PAGE_ORDER),
        "PAGE_OUT": PageOut(lpid, runs, 0, PAGE_ORDER),
        "PAGE_INVAL": PageInval(lpid, PageRuns.of((AT, 1)), PAGE_ORDER),
        "SHARE": SharePage(Gfn(GFN), 1),
        "UNSHARE": UnsharePage(Gfn(GFN), 1),
        "UNSHARE_ALL": UnshareAllPages(),
    }
    return hv.ultracall(requests[call], HYPERVISOR if call.startswith("PAGE") else guest(LPID))


def seen(hv: ScriptedHypervisor, call: str, offered: int) -> tuple[str, ...]:
    """Return what became of the GFN, in the table's words."""
    own = hv.ra(LPID, GFN)
    page = hv.page(offered if call in {"PAGE_IN", "PAGE_OUT"} else own)
    return (
        state_of(hv, GFN).name,
        BY_REFERENCE.get(frame_of(hv, GFN), "cipher"),
        {0: "-", own: "own", offered: "new"}[mapped(hv, GFN)],
        BY_REFERENCE.get(page, "cipher"),
    )


def test_the_table_is_complete() -> None:
    assert {row[:2] for row in ROWS} == {(call, state.name) for call in CALLS for state in S}
    assert len(ROWS) == 84


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}-{row[1]}")
def test_a_cell(row: tuple[str, ...]) -> None:
    call, state, code, *next_state = row
    hv, offered = fixture(S[state])
    before = hv.uv.digest()
    reply = make(hv, call, offered)
    assert (reply.code.name, *seen(hv, call, offered)) == (code, *next_state)
    if call.startswith("PAGE"):
        refused = [] if reply.code.succeeded else [(AT, 1, int(UCode[code]))]
        assert list(reply.refused.coded()) == refused
    if not reply.code.succeeded:
        assert hv.uv.digest() == before
        assert hv.asked == []
    assert sound(hv)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("state", S)
def test_an_aborted_svm_refuses_every_call_in_every_state(call: str, state: S) -> None:
    hv, offered = fixture(state)
    svm_of(hv).state = UvVmState.ABORT
    before, page = hv.uv.digest(), hv.page(offered)
    out_already = (call, state) == ("PAGE_OUT", S.PAGEDOUT)
    assert make(hv, call, offered).code is (UCode.U_PARAMETER if out_already else UCode.U_STATE)
    assert hv.uv.digest() == before
    assert call == "PAGE_OUT" or hv.page(offered) == page
