"""How large secure memory is: as the observer sees it, or found out by slots that still fit."""

from typing import Final

from pef_lab.rows.ultravisor.collected import OK, Pages
from pef_lab.rows.ultravisor.scene import Cast
from pef_lab.rows.ultravisor.vm import UPPER
from pef_protocol.quantities import PAGE_SIZE, SlotId, gpa_of
from pef_protocol.ultracalls import RegisterMemSlot, UnregisterMemSlot

APART: Final = 1 << 21
"""GFNs between the first ones of slots that are plugged for a row."""
MOST: Final = 1 << 29
"""Pages of the largest slot that is tried: 32 TiB."""
TRIED: Final = 9


def first_of(slotid: int) -> int:
    """Return the first GFN of a slot that is plugged for a row."""
    return APART * (slotid - UPPER.slotid)


def plug(pages: Pages, slotid: int, count: int) -> RegisterMemSlot:
    """Return UV_REGISTER_MEM_SLOT of a slot of `count` GFNs."""
    return RegisterMemSlot(pages.lpid, gpa_of(first_of(slotid)), count * PAGE_SIZE, 0, SlotId(slotid))


async def pool_of(pages: Pages) -> tuple[int, int]:
    """Return how many pages secure memory has, and how many of them a slot may have now.

    Where nobody may observe that, slots are plugged into the SVM and taken away again: other SVMs' pages go
    out for them, so that the scene of the ladders is spent.
    """
    stage = pages.vm.stage
    if stage.ultravisor.can_be_observed:
        pool = (await stage.ultravisor.view("vms"))["pool"]
        return int(pool["size"]), int(pool["size"]) - int(pool["used"])
    await stage.spend(Cast)
    fits, beyond = 0, MOST
    while beyond - fits > 1:
        count = fits + beyond >> 1
        if (await pages.ask(plug(pages, TRIED, count))).code == OK:
            await pages.ask(UnregisterMemSlot(pages.lpid, SlotId(TRIED)))
            fits = count
        else:
            beyond = count
    return fits, fits
