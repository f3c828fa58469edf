"""Mutants of the Ultravisor in which the Hypervisor's paging calls do what they must not.

Source: specification of the Ultravisor, section 9: D2b, D6, D12, D13.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from pef_kit.core.checks import Codes
from pef_kit.core.effects import Operation
from pef_kit.core.runs import I64, U8
from pef_kit.core.table import Cell
from pef_mutants.exchange import cells, everywhere
from pef_protocol.codes import UCode
from pef_protocol.states import UvGfnState as S
from pef_protocol.states import UvVmState
from pef_ultravisor.from_hypervisor import page_in
from pef_ultravisor.gfn.columns import Gfns
from pef_ultravisor.gfn.table import GFN, Action, Event, GfnCell
from pef_ultravisor.state import Svm, Ultravisor


@contextmanager
def d2b() -> Iterator[None]:
    """Take every UV_PAGE_IN of a secure page, asked for or not, until the VM is secure."""
    original = page_in.events_of

    def events_of(svm: Svm, gfns: Gfns, flags: int = 0) -> U8:
        events = original(svm, gfns, flags)
        if svm.state is UvVmState.ACTIVE:
            events[gfns.slot.state[gfns.selection] == S.SECURE] = Event.PAGE_IN_REQUESTED
        return events

    with everywhere(original, events_of):
        yield


def _success_and_nothing_done(state: S) -> GfnCell:
    return Cell(state, UCode.U_SUCCESS, Action.NOTHING)


@contextmanager
def d6() -> Iterator[None]:
    """Say that an offered page is given up, and keep it: the commit zeroes and maps it."""
    with cells(GFN, {Event.PAGE_INVAL: {S.HV_SHARED: _success_and_nothing_done(S.HV_SHARED)}}):
        yield


@contextmanager
def d12() -> Iterator[None]:
    """Copy what comes for a paged-out page as it is, unless the VM is secure already."""
    original = page_in.decrypt_pages

    def opened(uv: Ultravisor, svm: Svm, gfns: Gfns, addresses: I64) -> Operation[Codes]:
        if svm.state is UvVmState.SECURE:
            return (yield from original(uv, svm, gfns, addresses))
        yield from page_in.import_pages(uv, gfns, addresses)
        gfns.slot.put(gfns.selection, S.SECURE)
        gfns.slot.counter[gfns.selection] = 0
        gfns.slot.tag[gfns.selection] = 0
        return np.zeros(gfns.pages, np.int16)

    with everywhere(original, opened):
        yield


@contextmanager
def d13() -> Iterator[None]:
    """Keep a page mapped that is withdrawn while its unshare is open, until the unshare is granted."""
    with cells(GFN, {Event.PAGE_INVAL: {S.HV_UNSHARING: _success_and_nothing_done(S.HV_UNSHARING)}}):
        yield
