"""What a call has in flight: GFNs, the normal pages behind them, and device pages. One way in and out.

The mark of a GFN stands for its normal page, too: a page that bytes go to or come from is named by its GFN
alone. So whoever meets the mark leaves both alone, and a slot with a mark is not taken away.

Order: enter before anything can raise; leave before waiting. Nobody waits while it holds.

Source: rule 13 of ARCHITECTURE.md, "Identity and time".
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pef_hypervisor.frames import MOVING, DevicePool, Reservation, VmSlot
from pef_kit.spans import Selection


@contextmanager
def in_flight(
    pool: DevicePool,
    pages: Sequence[tuple[VmSlot, Selection]],
    *,
    taking: int = 0,
    leaving: int = 0,
) -> Iterator[Reservation]:
    """Mark `pages` (slots with offsets in pages), and reserve device pages for those that come in.

    `taking`: device pages that are reserved; `leaving`: device pages that may come back. The caller has seen
    that no page bears the mark, and that there are device pages.
    """
    with pool.reserving(taking) as reserved, pool.freeing(leaving):
        for slot, offsets in pages:
            slot.mark(offsets, MOVING)
            slot.flights += 1
        try:
            yield reserved
        finally:
            for slot, offsets in pages:
                slot.unmark(offsets, MOVING)
                slot.flights -= 1


@contextmanager
def whole_in_flight(slot: VmSlot) -> Iterator[None]:
    """Have every GFN of a slot in flight, however many there are. The caller has seen that none is."""
    slot.flights += 1
    slot.whole_in_flight = True
    try:
        yield
    finally:
        slot.whole_in_flight = False
        slot.flights -= 1
