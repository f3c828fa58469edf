"""Both machines of one process as they run now: either may die and start anew, with nothing of its memory.

A Hypervisor makes memory of its own at its start; the Ultravisor maps it at hello, and the one before until
then. What a dead side was doing stays where it stood.

Source: rules 2 to 5 of ARCHITECTURE.md, "Identity and time".
"""

from abc import abstractmethod
from dataclasses import replace
from typing import Final

from pef_explorer.small_memory import HeapMemory
from pef_explorer.wire import Wire
from pef_hypervisor.machine import Hypervisor
from pef_kit.bus import carry_out
from pef_kit.core.fence import Fence
from pef_kit.core.hello import Epochs, Hello
from pef_kit.operations import Ask, Operation, Transfer
from pef_protocol.calls import CALLS, Reply
from pef_protocol.events import Side
from pef_protocol.wire import Caller, Role
from pef_ultravisor.handlers import ultracall
from pef_ultravisor.leases import end_epoch
from pef_ultravisor.machine import Ultravisor

HYPERVISOR: Final = Caller(Role.HYPERVISOR)
ULTRAVISOR: Final = Caller(Role.ULTRAVISOR)


class Pair(Wire):
    """Both machines, the normal memory of each, and the wire. `starts` counts how often each has started."""

    uv: Ultravisor
    hv: Hypervisor
    memory: HeapMemory
    """The Hypervisor's own."""
    mapped: HeapMemory
    """What the Ultravisor has mapped."""

    def __init__(self) -> None:
        super().__init__()
        self.starts = dict.fromkeys(Side, 0)
        self.memory = self.mapped = self.new_memory()
        for side in Side:
            self.start(side)

    @abstractmethod
    def new_memory(self) -> HeapMemory:
        """Return normal memory that nobody has used."""

    @abstractmethod
    def new_ultravisor(self) -> Ultravisor:
        """Return an Ultravisor as it starts, for the `starts`th time."""

    @abstractmethod
    def new_hypervisor(self) -> Hypervisor:
        """Return a Hypervisor as it starts, for the `starts`th time, with `memory`."""

    def start(self, side: Side) -> None:
        """Start a side; nothing is left of what it knew."""
        self.starts[side] += 1
        self.fences[side] = Fence()
        if side is Side.ULTRAVISOR:
            self.uv = self.new_ultravisor()
            self.epochs = Epochs(self.uv.instance)
        else:
            self.memory = self.new_memory()
            self.hv = self.new_hypervisor()

    @property
    def apart(self) -> bool:
        """Tell whether the two sides have no epoch together: a hello is due."""
        ours = self.fences[Side.HYPERVISOR].epoch
        return ours is None or ours != self.epoch

    def introduce(self) -> Operation[None]:
        """Return what the Hypervisor does once a side has started anew: it says hello, and fits."""
        if self.fences[Side.HYPERVISOR].epoch is not None:
            self.fences[Side.HYPERVISOR].end()
            yield from self.hv.end_operations()
        yield from self.say_hello()
        yield from self.hv.fit_new_ultravisor()

    def say_hello(self) -> Operation[None]:
        """Begin the next epoch, once nothing is left of the one before."""
        instance = self.hv.store.instance
        if self.epochs.judge(instance, self.epochs.current) is not Hello.TAKE_OVER:
            raise AssertionError(f"the hello of {instance} is refused")
        self.fences[Side.ULTRAVISOR].end()
        yield from end_epoch(self.uv)
        self.mapped = self.memory
        self.epochs.take_over(instance)
        self.begin()

    def begin(self) -> None:
        """Begin the current epoch at both sides, with nothing kept of what was sent in it before."""
        lives = self.begin_epoch(self.epochs.current)
        self.uv.epoch, self.hv.store.epoch = lives[Side.ULTRAVISOR], lives[Side.HYPERVISOR]

    def handler(self, ask: Ask) -> Operation[Reply]:
        """Return the operation by which the peer answers; the caller names the SVM that it means.

        Raise OtherIncarnation, now or at its first step, where that is not the one that there is.
        """
        if CALLS[ask.name].is_ultracall:
            caller = replace(HYPERVISOR, incarnation=ask.incarnation)
            return ultracall(self.uv, caller, ask.name, ask.request)
        return self.hv.hypercall(replace(ULTRAVISOR, incarnation=ask.incarnation), ask.name, ask.request)

    def carry_out(self, side: Side, transfer: Transfer) -> None:
        """Move the bytes of a transfer, as far as `side` reaches."""
        carry_out(self.mapped if side is Side.ULTRAVISOR else self.memory, transfer)
