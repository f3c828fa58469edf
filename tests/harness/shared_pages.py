"""An SVM of eight pages in two slots, which shares pages and takes them back."""

from typing import Final

from harness.scripted_hypervisor import ScriptedHypervisor, guest
from harness.ultravisor_fixtures import LPID, frame_of, machine, put, secure_vm, sound, state_of, text
from pef_protocol.codes import HCode, UCode
from pef_protocol.quantities import PAGE_ORDER, Gfn, Lpid
from pef_protocol.runs import PageRuns
from pef_protocol.states import UvGfnState as S
from pef_protocol.ultracalls import PageInval, SharePage, SvmTerminate, UnshareAllPages, UnsharePage

SLOTS: Final = ((0, 0, 4), (1, 4, 4))
GFNS: Final = range(2, 6)
"""The GFNs that are shared at once: they lie in two slots, which abut."""
SHARED: Final = (0, 2, 3, 5)
"""The GFNs of which `svm_with_shared_pages` has shared pages: 0 among them, and both slots."""
KEPT: Final = {6: S.SHARED_IMPLICIT, 7: S.PSEUDO_SHARED}
REFUSED: Final = HCode.H_PARAMETER


def svm_of_secure_pages() -> ScriptedHypervisor:
    """Return a machine whose one SVM has secure pages only."""
    hv = machine()
    secure_vm(hv, LPID, *SLOTS)
    for gfn in range(8):
        put(hv, gfn, S.SECURE, frame=text(f"page {gfn}"))
    return hv


def svm_with_shared_pages() -> ScriptedHypervisor:
    """Return a machine whose one SVM has shared pages (SHARED) and the Ultravisor's own (KEPT)."""
    hv = machine()
    secure_vm(hv, LPID, *SLOTS)
    for gfn in range(8):
        state = S.SHARED if gfn in SHARED else KEPT.get(gfn, S.SECURE)
        put(hv, gfn, state, frame=text(f"page {gfn}"), page=text(f"mail {gfn}"))
    return hv


def share(hv: ScriptedHypervisor, gfn: int = 2, num: int = 4) -> UCode:
    """Call UV_SHARE_PAGE as the guest."""
    return UCode(hv.ultracall(SharePage(Gfn(gfn), num), guest(LPID)).code)


def unshare(hv: ScriptedHypervisor, gfn: int, num: int) -> UCode:
    """Call UV_UNSHARE_PAGE as the guest."""
    return UCode(hv.ultracall(UnsharePage(Gfn(gfn), num), guest(LPID)).code)


def unshare_all(hv: ScriptedHypervisor) -> UCode:
    """Call UV_UNSHARE_ALL_PAGES as the guest."""
    return UCode(hv.ultracall(UnshareAllPages(), guest(LPID)).code)


def inval(hv: ScriptedHypervisor, *gfns: int) -> UCode:
    """Call UV_PAGE_INVAL as the Hypervisor."""
    runs = PageRuns.from_rows((gfn << PAGE_ORDER, 1) for gfn in gfns)
    return UCode(hv.ultracall(PageInval(Lpid(LPID), runs, PAGE_ORDER)).code)


def terminate(hv: ScriptedHypervisor) -> None:
    """End the SVM."""
    assert hv.ultracall(SvmTerminate(Lpid(LPID))).code is UCode.U_SUCCESS


def states(hv: ScriptedHypervisor) -> list[S]:
    """Return the states of all eight GFNs."""
    return [state_of(hv, gfn) for gfn in range(8)]


def untouched(hv: ScriptedHypervisor) -> bool:
    """Tell whether all pages are secure and hold what `svm_of_secure_pages` gave them."""
    assert states(hv) == [S.SECURE] * 8
    assert [frame_of(hv, gfn) for gfn in range(8)] == [text(f"page {gfn}") for gfn in range(8)]
    assert hv.load(LPID, GFNS[0] << PAGE_ORDER, 1 << PAGE_ORDER) == text(f"page {GFNS[0]}")
    return sound(hv)
