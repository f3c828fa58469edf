"""Copy between normal memory and a buffer; nobody moves the pages meanwhile."""

from typing import Final

from pef_hypervisor.frames import TOUCHED, VmSlot
from pef_hypervisor.in_flight import in_flight
from pef_hypervisor.store import Store
from pef_kit.columns import GfnSet
from pef_kit.operations import Operation, Work
from pef_kit.spans import Selection

SMALL: Final = 1 << 20
"""Bytes that are copied without a thread."""


def copy_out(store: Store, gfn_sets: list[GfnSet[VmSlot]], gpa: int, length: int) -> Operation[bytes]:
    """Return `length` bytes from `gpa`, all of whose pages are normal ones that nobody moves."""
    if length <= SMALL:
        return bytes(store.memory.read(gfn_sets, gpa, length))
    with in_flight(store.pool, _pages(gfn_sets)):
        seen: bytes = yield Work(lambda: bytes(store.memory.read(gfn_sets, gpa, length)))
    return seen


def copy_in(store: Store, gfn_sets: list[GfnSet[VmSlot]], gpa: int, content: bytes) -> Operation[None]:
    """Write `content` from `gpa`, all of whose pages are normal ones that nobody moves."""
    for gfns in gfn_sets:
        gfns.slot.mark(gfns.selection, TOUCHED)
    if len(content) <= SMALL:
        store.memory.write(gfn_sets, gpa, content)
        return
    with in_flight(store.pool, _pages(gfn_sets)):
        yield Work(lambda: store.memory.write(gfn_sets, gpa, content))


def _pages(gfn_sets: list[GfnSet[VmSlot]]) -> list[tuple[VmSlot, Selection]]:
    return [(gfns.slot, gfns.selection) for gfns in gfn_sets]
