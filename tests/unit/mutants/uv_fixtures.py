"""One fixture per mutant of the Ultravisor: what is done, and what can be seen of it.

The Hypervisor beside it is scripted, so it may refuse, pretend and act out of turn.
"""

from collections.abc import Callable, Mapping
from typing import Final

from harness.scripted_hypervisor import ScriptedHypervisor, guest
from harness.scripted_peer import afterwards, first, pretend, refuse
from harness.ultravisor_fixtures import (
    LPID,
    ZERO,
    active_vm,
    frame_of,
    machine,
    mapped,
    put,
    secure_vm,
    state_of,
    text,
)
from pef_protocol.codes import HCode, UCode
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, Gfn, Lpid
from pef_protocol.runs import PageRuns
from pef_protocol.states import UvGfnState as S
from pef_protocol.ultracalls import PageInval, SharePage, UnshareAllPages, UnsharePage
from pef_ultravisor.access import AccessFailure

GFN: Final = 16
NEXT: Final = 17
MINE, THEIRS = text("mine"), text("theirs")


def one_page(state: S, *, secure: bool = True) -> ScriptedHypervisor:
    """Return a machine with a VM, one of whose GFNs is in `state` and holds, or has sealed, MINE."""
    hv = machine()
    (secure_vm if secure else active_vm)(hv)
    put(hv, GFN, state, frame=MINE, page=MINE)
    return hv


def word(page: bytes) -> str:
    """Tell what a page holds."""
    return {MINE: "mine", THEIRS: "theirs", ZERO: "zero"}.get(page, "other")


def load(hv: ScriptedHypervisor, gfn: int = GFN) -> str:
    """Tell what the guest finds in a page."""
    try:
        return word(hv.load(LPID, gfn << PAGE_ORDER, PAGE_SIZE))
    except AccessFailure:
        return "refused"


def share(hv: ScriptedHypervisor, num: int = 1) -> str:
    return UCode(hv.ultracall(SharePage(Gfn(GFN), num), guest(LPID)).code).name


def unshare(hv: ScriptedHypervisor) -> str:
    return UCode(hv.ultracall(UnsharePage(Gfn(GFN), 1), guest(LPID)).code).name


def inval(hv: ScriptedHypervisor) -> str:
    runs = PageRuns.of((GFN << PAGE_ORDER, 1))
    return UCode(hv.ultracall(PageInval(Lpid(LPID), runs, PAGE_ORDER)).code).name


def d2b() -> object:
    hv = one_page(S.SECURE, secure=False)
    hv.fill(hv.ra(LPID, GFN), THEIRS)
    return UCode(hv.page_in(LPID, GFN).code).name, word(frame_of(hv, GFN))


def d6() -> object:
    hv = one_page(S.SECURE)
    hv.fill(hv.ra(LPID, GFN), THEIRS)
    withdrawn: list[str] = []
    hv.answers("H_SVM_PAGE_IN", afterwards(lambda hv: withdrawn.append(inval(hv))))
    code = share(hv)
    return withdrawn, code, state_of(hv, GFN).name, mapped(hv, GFN) != 0, word(hv.page(hv.ra(LPID, GFN)))


def d7() -> object:
    hv = one_page(S.PAGEDOUT)
    return unshare(hv), load(hv), load(hv)


def d8() -> object:
    hv = one_page(S.SECURE)

    def offer_one(hv: ScriptedHypervisor) -> None:
        hv.page_in(LPID, GFN)
        hv.vms[LPID].letters[GFN] = "H"

    hv.answers("H_SVM_PAGE_IN", first(offer_one, refuse(HCode.H_PARAMETER)))
    code = share(hv, 2)
    found = load(hv)
    hv.store(LPID, GFN << PAGE_ORDER, MINE)
    return code, hv.vms[LPID].letters[GFN], found, word(hv.page(hv.ra(LPID, GFN)))


def d10() -> object:
    hv = one_page(S.SECURE)
    hv.answers("H_SVM_PAGE_IN", refuse(HCode.H_PARAMETER))
    return share(hv), load(hv), share(hv), unshare(hv)


def d11() -> object:
    hv = one_page(S.PAGEDOUT)
    hv.answers("H_SVM_PAGE_IN", *[pretend()] * 4)
    return share(hv), load(hv)


def d12() -> object:
    hv = one_page(S.PAGEDOUT, secure=False)
    return UCode(hv.page_in(LPID, GFN).code).name, state_of(hv, GFN).name, word(frame_of(hv, GFN))


def d13() -> object:
    hv = one_page(S.SHARED)
    seen: list[object] = []
    hv.answers("H_SVM_PAGE_IN", first(lambda hv: seen.extend((inval(hv), mapped(hv, GFN) != 0))))
    return unshare(hv), seen, mapped(hv, GFN)


def d14() -> object:
    hv = machine()
    secure_vm(hv, LPID, (0, 0, 4))
    for gfn in (0, 1):
        put(hv, gfn, S.SHARED)
    code = hv.ultracall(UnshareAllPages(), guest(LPID)).code.name
    return code, state_of(hv, 0).name, state_of(hv, 1).name


FIXTURES: Final[Mapping[str, tuple[Callable[[], object], object, object]]] = {
    "D2b": (d2b, ("U_P2", "mine"), ("U_SUCCESS", "theirs")),
    "D6": (
        d6,
        (["U_SUCCESS"], "U_SUCCESS", "SHARED_INV", False, "theirs"),
        (["U_SUCCESS"], "U_SUCCESS", "SHARED", True, "zero"),
    ),
    "D7": (d7, ("U_SUCCESS", "zero", "zero"), ("U_SUCCESS", "refused", "refused")),
    "D8": (d8, ("U_P2", "S", "mine", "zero"), ("U_P2", "S", "zero", "mine")),
    "D10": (
        d10,
        ("U_P2", "mine", "U_SUCCESS", "U_SUCCESS"),
        ("U_P2", "refused", "U_BUSY", "U_BUSY"),
    ),
    "D11": (d11, ("U_P2", "mine"), ("U_SUCCESS", "zero")),
    "D12": (d12, ("U_SUCCESS", "SECURE", "mine"), ("U_SUCCESS", "SECURE", "other")),
    "D13": (d13, ("U_SUCCESS", ["U_SUCCESS", False], 0), ("U_SUCCESS", ["U_SUCCESS", True], 0)),
    "D14": (d14, ("U_SUCCESS", "SECURE", "SECURE"), ("U_SUCCESS", "SHARED", "SECURE")),
}
"""By mutant: the fixture, what is seen of the sound Ultravisor, and what of the faulty one."""
