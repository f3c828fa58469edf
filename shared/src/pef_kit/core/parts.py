"""What is done to whole slots, part by part: everybody else has a turn between two parts of a large one."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

from pef_kit.core.columns import GfnSet, SlotT
from pef_kit.core.effects import Operation, Turn
from pef_protocol.http import PAGES_AT_ONCE

T = TypeVar("T")

PART: Final = PAGES_AT_ONCE
"""GFNs of whole slots that are treated before others have a turn: as many as a message names."""


def batches(slots: Iterable[SlotT]) -> Iterator[list[tuple[SlotT, slice]]]:
    """Yield whole slots as parts of them, in batches of PART GFNs; the last one has what is left."""
    batch: list[tuple[SlotT, slice]] = []
    room = PART
    for slot in slots:
        start = 0
        while start < slot.count:
            part = slice(start, min(start + room, slot.count))
            batch.append((slot, part))
            room -= part.stop - start
            start = part.stop
            if not room:
                yield batch
                batch, room = [], PART
    if batch:
        yield batch


def part_by_part(slots: Iterable[SlotT], do: Callable[[SlotT, slice], None]) -> Operation[None]:
    """Call `do(slot, part)` for each part of `slots`; after PART GFNs everybody else has a turn.

    Order: what `do` leaves of a part is consistent, for others see it. The caller has taken care that nobody
    makes anew, in a part that was done, what `do` takes away.
    """
    for place, batch in enumerate(batches(slots)):
        if place:
            yield Turn()
        for slot, part in batch:
            do(slot, part)


def set_by_set(
    found: Iterable[GfnSet[SlotT]], do: Callable[[GfnSet[SlotT]], Operation[T]]
) -> Operation[list[T]]:
    """Run `do` for each set of GFNs, return what each returned; after PART GFNs everybody else has a turn.

    Order: few GFNs have no turn between them, whatever number of slots they lie in.
    """
    outcomes: list[T] = []
    treated = 0
    for gfns in found:
        treated += gfns.pages
        if treated > PART:
            yield Turn()
            treated = gfns.pages
        outcomes.append((yield from do(gfns)))
    return outcomes


def copied(slots: Iterable[SlotT]) -> Operation[list[SlotT]]:
    """Copy slots with their columns, part by part; others may act between two parts of a large one."""
    originals = list(slots)
    copies = [slot.blank() for slot in originals]
    copy_of = dict(zip(originals, copies, strict=True))
    yield from part_by_part(originals, lambda slot, part: slot.copy_part(copy_of[slot], part))
    return copies
