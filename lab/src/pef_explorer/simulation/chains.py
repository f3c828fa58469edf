"""A call under way in the simulation: `OpenCall`, with a time that runs out and no trail."""

from typing import Any

from pef_explorer.machines.faults import Fault
from pef_explorer.machines.open_call import OpenCall, Pending
from pef_explorer.machines.wire import Wire
from pef_explorer.simulation.events import Start
from pef_kit.core.effects import MAX_ATTEMPTS, Backoff, Operation
from pef_protocol.events import Side


class Chain(OpenCall):
    """An operation and those that are nested in it. `start` is the action that it belongs to."""

    __slots__ = ("fault", "messages", "start", "steps")

    def __init__(self, operation: Operation[Any], wire: Wire, side: Side, start: Start) -> None:
        self.start = start
        self.fault: Fault | None = None
        """What befalls its next step."""
        self.messages = 0
        self.steps = 0
        super().__init__(operation, wire, side)

    @property
    def on_its_way(self) -> bool:
        """Tell whether a message is what is pending."""
        return self.pending in {Pending.REQUEST, Pending.REPLY}

    def lose(self) -> None:
        """Lose the message that is on its way: the request is sent again, in its slot."""
        if self.pending is Pending.REPLY:
            self.go_on(Fault.ANSWER_LOST)

    def go_on(self, fault: Fault | None = None) -> None:
        """Perform what is pending. Time is over for what was tried `MAX_ATTEMPTS` times.

        What waits for a VM that must be reset is busy until somebody resets it.
        """
        if isinstance(self.effect, Backoff):
            self._resume(self.effect.ignore_deadline or self.effect.attempt < MAX_ATTEMPTS - 1)
        else:
            super().go_on(fault)

    def _note(self, what: Any) -> None:
        """Remember nothing: a run is never at the same place twice."""

    def _note_place(self) -> None:
        """Remember nothing."""
