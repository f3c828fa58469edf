"""Copy between normal memory and a buffer; nobody moves the pages meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pef_hypervisor.frames import MOVING, TOUCHED, VmSlot
from pef_hypervisor.store import Store
from pef_kit.columns import Portion
from pef_kit.operations import Operation, Work

SMALL: Final = 1 << 20
"""Bytes that are copied without a thread."""


def copy_out(store: Store, portions: list[Portion[VmSlot]], gpa: int, length: int) -> Operation[bytes]:
    """Return `length` bytes from `gpa`, all of whose pages are normal ones that nobody moves."""
    if length <= SMALL:
        return bytes(store.memory.read(portions, gpa, length))
    with _pinned(portions):
        seen: bytes = yield Work(lambda: bytes(store.memory.read(portions, gpa, length)))
    return seen


def copy_in(store: Store, portions: list[Portion[VmSlot]], gpa: int, content: bytes) -> Operation[None]:
    """Write `content` from `gpa`, all of whose pages are normal ones that nobody moves."""
    for portion in portions:
        portion.slot.mark(portion.chosen, TOUCHED)
    if len(content) <= SMALL:
        store.memory.write(portions, gpa, content)
        return
    with _pinned(portions):
        yield Work(lambda: store.memory.write(portions, gpa, content))


@contextmanager
def _pinned(portions: list[Portion[VmSlot]]) -> Iterator[None]:
    for portion in portions:
        portion.slot.mark(portion.chosen, MOVING)
    try:
        yield
    finally:
        for portion in portions:
            portion.slot.unmark(portion.chosen, MOVING)
