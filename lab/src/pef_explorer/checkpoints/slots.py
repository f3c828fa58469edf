"""The memory slots that a VM has, put back as a whole."""

from pef_kit.core.columns import SlotMap, SlotT


def hold(held: SlotMap[SlotT], slots: list[SlotT]) -> None:
    """Let a map hold exactly `slots`, which go by descending first GFN and do not overlap."""
    if slots != held._slots:  # the same objects in the same order
        held._slots = slots
        held._reindex()
