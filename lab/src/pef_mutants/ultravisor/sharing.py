"""Mutants of the Ultravisor in which shares and unshares leave GFNs where they must not be.

Source: specification of the Ultravisor, section 9: D7, D8, D10, D11, D14.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from pef_kit.core.effects import Operation
from pef_kit.core.table import Cell, Judgement
from pef_mutants.exchange import cells, everywhere, only_in
from pef_protocol.codes import UCode
from pef_protocol.states import UvGfnState as S
from pef_protocol.states import UvVmState
from pef_ultravisor.from_guest import share_page, unshare_all_pages, unshare_page
from pef_ultravisor.gfn.columns import GfnSets, in_state, picked
from pef_ultravisor.gfn.table import GFN, Action, Event
from pef_ultravisor.state import Svm, Ultravisor
from pef_ultravisor.to_hypervisor.faults import FaultError
from pef_ultravisor.to_hypervisor.faults import resolve_fault as settled_soundly

SKIPPED = Cell(S.PAGEDOUT, UCode.U_SUCCESS, Action.NOTHING)
NEVER_BROUGHT = "the Hypervisor says that it brought a page, and did not"


def _lose_records(gfn_sets: GfnSets) -> None:
    for part in in_state(gfn_sets, S.PAGEDOUT):
        part.slot.counter[part.selection] = 0
        part.slot.tag[part.selection] = 0


@contextmanager
def d7() -> Iterator[None]:
    """Pass over paged-out GFNs of an unshare, and lose their sealing records at its end.

    In the firmware such a GFN calls itself secure and is mapped to nothing, so that its vCPU hangs. Here a
    secure GFN always has its frame: the GFN stays paged out, and no page-in is ever genuine again.
    """
    original = unshare_page.unshare

    def unshare(uv: Ultravisor, svm: Svm, gfn_sets: GfnSets) -> Operation[None]:
        yield from original(uv, svm, gfn_sets)
        _lose_records(gfn_sets)

    with cells(GFN, {Event.UNSHARE: {S.PAGEDOUT: SKIPPED}}), everywhere(original, unshare):
        yield


@contextmanager
def d8() -> Iterator[None]:
    """Take a refused share back, but leave its GFNs on the normal pages that had been offered.

    A secure GFN can't be mapped to a normal page here; what can is a shared one. So the GFN is secure to the
    Hypervisor and to the guest, whose stores are for all to read.
    """
    original = share_page.revert

    def withdraw(uv: Ultravisor, svm: Svm, fresh: GfnSets) -> Operation[None]:
        offered = [
            (part.slot, part.each_offset(), part.slot.normal[part.selection].copy())
            for part in in_state(fresh, S.HV_SHARED)
        ]
        yield from original(uv, svm, fresh)
        if svm.state is UvVmState.ABORT:
            return
        for slot, offsets, pages in offered:
            slot.normal[offsets] = pages
            uv.normal_pages.take(pages)
            slot.put(offsets, S.SHARED)

    with everywhere(original, withdraw):
        yield


@contextmanager
def d10() -> Iterator[None]:
    """Give a share up at its first refusal and take nothing back: its GFNs stay in transit for ever."""

    def withdraw_nothing(*_: object) -> Operation[None]:
        yield from ()

    with everywhere(share_page.revert, withdraw_nothing):
        yield


@contextmanager
def d11() -> Iterator[None]:
    """Go on with a share of a paged-out page once the Hypervisor has pretended often enough to bring it.

    The firmware goes on with the record in place of the page, and may map its own heap into the SVM. Here the
    record is lost and the share goes on with an empty frame.
    """
    original = settled_soundly

    def resolve_fault(
        uv: Ultravisor, svm: Svm, gfn_sets: GfnSets, event: Event
    ) -> Operation[list[Judgement]]:
        try:
            return (yield from original(uv, svm, gfn_sets, event))
        except FaultError as reason:
            if str(reason) != NEVER_BROUGHT:
                raise
        _lose_records(gfn_sets)
        for part in in_state(gfn_sets, S.PAGEDOUT):
            part.slot.put(part.selection, S.SECURE)
        return (yield from original(uv, svm, gfn_sets, event))

    with only_in(share_page, "resolve_fault", resolve_fault):
        yield


@contextmanager
def d14() -> Iterator[None]:
    """Take back by UV_UNSHARE_ALL_PAGES every shared GFN but GFN 0, and call it a success.

    The firmware passes over GFN 0 at the end of an SVM too, and then halts; here slots go whole.
    """
    original = unshare_all_pages.unshare_all

    def unshare_all(uv: Ultravisor, svm: Svm, gfn_sets: GfnSets) -> Operation[None]:
        visited = picked(gfn_sets, [np.asarray(part.each_gfn() != 0) for part in gfn_sets])
        yield from original(uv, svm, visited)

    with everywhere(original, unshare_all):
        yield
