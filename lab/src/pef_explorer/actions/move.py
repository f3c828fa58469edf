"""A move: who makes it, which action it begins or goes on with, and what befalls its message."""

from typing import Final, NamedTuple

from pef_explorer.machines.faults import Fault

VM: Final = -1
GO_ON: Final = "go on"
GUESTS: Final = ("guest 0", "guest 1")
VMM, MEMORY = "vmm", "memory"


class Move(NamedTuple):
    """One step of a schedule: an actor begins an action, or its open call goes on."""

    actor: str
    action: str
    gfn: int = -1
    fault: Fault | None = None
