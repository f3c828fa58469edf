"""Copy between normal memory and a buffer; nobody moves the pages meanwhile."""

from typing import Final

from pef_hypervisor.frames import TOUCHED, VmSlot
from pef_hypervisor.in_flight import in_flight
from pef_hypervisor.store import Store
from pef_kit.columns import Portion
from pef_kit.operations import Operation, Work
from pef_kit.spans import Selection

SMALL: Final = 1 << 20
"""Bytes that are copied without a thread."""


def copy_out(store: Store, portions: list[Portion[VmSlot]], gpa: int, length: int) -> Operation[bytes]:
    """Return `length` bytes from `gpa`, all of whose pages are normal ones that nobody moves."""
    if length <= SMALL:
        return bytes(store.memory.read(portions, gpa, length))
    with in_flight(store.pool, _pages(portions)):
        seen: bytes = yield Work(lambda: bytes(store.memory.read(portions, gpa, length)))
    return seen


def copy_in(store: Store, portions: list[Portion[VmSlot]], gpa: int, content: bytes) -> Operation[None]:
    """Write `content` from `gpa`, all of whose pages are normal ones that nobody moves."""
    for portion in portions:
        portion.slot.mark(portion.chosen, TOUCHED)
    if len(content) <= SMALL:
        store.memory.write(portions, gpa, content)
        return
    with in_flight(store.pool, _pages(portions)):
        yield Work(lambda: store.memory.write(portions, gpa, content))


def _pages(portions: list[Portion[VmSlot]]) -> list[tuple[VmSlot, Selection]]:
    return [(portion.slot, portion.chosen) for portion in portions]
