"""Slots as the sender has them: a call takes one, and gives it back with its outcome.

A slot whose call has no outcome yet stays taken, whoever stopped waiting: its number must not be used again.

Source: rules 6, 7 and 9 of ARCHITECTURE.md, "Identity and time".
"""

from dataclasses import dataclass, field

from pef_protocol.identity import CallId


@dataclass(eq=False, slots=True)
class SenderSlot:
    """One slot of a session at one depth; `number` is that of its last call that was received."""

    depth: int
    place: int
    number: int = 0


@dataclass(slots=True)
class Session:
    """One speaker in one epoch: `size` slots at each depth. `name` never comes again."""

    name: str
    size: int
    _free: dict[int, list[SenderSlot]] = field(default_factory=dict)

    def take(self, depth: int) -> SenderSlot | None:
        """Return a slot that carries no call, or None."""
        free = self._free.get(depth)
        if free is None:
            free = self._free[depth] = [SenderSlot(depth, place) for place in reversed(range(self.size))]
        return free.pop() if free else None

    def call_id(self, slot: SenderSlot) -> CallId:
        """Return the id of the call that `slot` carries: the number after its last one."""
        return CallId(self.name, slot.depth, slot.place, slot.number + 1)

    def release(self, slot: SenderSlot, *, received: bool) -> None:
        """Take a slot back with the outcome of its call; `received` tells whether its number is used up."""
        slot.number += received
        self._free[slot.depth].append(slot)
