"""Both machines of one process as they run now: either may die and start anew, with nothing of its memory.

A Hypervisor makes memory of its own at its start; the Ultravisor maps it at hello, and the one before until
then. What a dead side was doing stays where it stood.

Source: rules 2 to 5 of ARCHITECTURE.md, "Identity and time".
"""

from abc import abstractmethod
from dataclasses import replace
from typing import Final, Generic, TypeVar

from pef_explorer.machines.wire import Message, NotDone, Wire
from pef_hypervisor.dispatch import Hypervisor
from pef_kit.core.effects import Operation, PeerCall, Transfer
from pef_kit.core.fence import Fence
from pef_kit.core.hello import Epochs, Hello
from pef_kit.core.lease import leased
from pef_kit.runtime.bus import NormalMemory, carry_out
from pef_protocol.calls import CALLS, Reply
from pef_protocol.events import Side
from pef_protocol.http import Caller, Role
from pef_protocol.identity import Epoch, InstanceId
from pef_protocol.problems import ProblemType
from pef_ultravisor.dispatch import ultracall
from pef_ultravisor.from_hypervisor.svm_terminate import end_epoch
from pef_ultravisor.state import Ultravisor

HYPERVISOR: Final = Caller(Role.HYPERVISOR)
ULTRAVISOR: Final = Caller(Role.ULTRAVISOR)
Memory = TypeVar("Memory", bound=NormalMemory)


class Pair(Wire, Generic[Memory]):
    """Both machines, the normal memory of each, and the wire. `starts` counts how often each has started."""

    uv: Ultravisor
    hv: Hypervisor
    memory: Memory
    """The Hypervisor's own."""
    mapped: Memory | None
    """What the Ultravisor has mapped: nothing until a hello."""

    def __init__(self) -> None:
        super().__init__()
        self.starts = dict.fromkeys(Side, 0)
        self.memory = self.new_memory()
        for side in Side:
            self.start(side)

    @abstractmethod
    def new_memory(self) -> Memory:
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
            self.mapped = None
        else:
            self.memory = self.new_memory()
            self.hv = self.new_hypervisor()
            self._fitting: object | None = None

    @property
    def apart(self) -> bool:
        """Tell whether the two sides have no epoch together: a hello is due."""
        current = self.fences[Side.HYPERVISOR].epoch
        return current is None or current != self.epoch

    def introduce(self) -> Operation[None]:
        """Return what the Hypervisor does once a side has started anew: it says hello, and fits."""
        yield from self.leave_epoch()
        yield from self.say_hello()
        yield from self.fit()

    def fit(self) -> Operation[None]:
        """Make every VM fit the Ultravisor; the Hypervisor watches the epoch meanwhile, and ends with it."""
        self._fitting = mine = object()
        try:
            yield from leased(self.hv.fit_new_ultravisor(), self.fences[Side.HYPERVISOR].life)
        finally:
            if self._fitting is mine:
                self._fitting = None

    def outcome(self, message: Message, refusal: NotDone) -> Exception | None:
        """Return what a refusal means to the sender; None where it asks again.

        The end of an epoch ends nothing before the next hello, unless the Hypervisor is fitting its VMs.
        """
        over = refusal.kind is ProblemType.OTHER_EPOCH and message.sender is Side.HYPERVISOR
        if over and self._fitting is not None:
            self.fences[Side.HYPERVISOR].end()
        return super().outcome(message, refusal)

    def leave_epoch(self) -> Operation[None]:
        """Leave the epoch that the Hypervisor has: end its operations that are under way."""
        if self.fences[Side.HYPERVISOR].epoch is not None:
            self.fences[Side.HYPERVISOR].end()
            yield from self.hv.end_operations()

    def say_hello(self) -> Operation[None]:
        """Begin the next epoch, once nothing is left of the one before."""
        instance = self.hv.store.instance
        if self.epochs.judge(instance, self.epochs.current) is not Hello.TAKE_OVER:
            raise AssertionError(f"the hello of {instance} is refused")
        epoch = yield from self.take_over(instance, self.memory)
        self.begin_at(Side.HYPERVISOR, epoch)

    def take_over(self, instance: InstanceId, memory: Memory) -> Operation[Epoch]:
        """Have the Ultravisor begin the epoch of a Hypervisor, once nothing is left of the one before."""
        self.fences[Side.ULTRAVISOR].end()
        yield from end_epoch(self.uv)
        self.mapped = memory
        epoch = self.epochs.take_over(instance)
        self.begin_at(Side.ULTRAVISOR, epoch)
        return epoch

    def begin(self) -> None:
        """Begin the current epoch at both sides, with nothing kept of what was sent in it before."""
        for side in Side:
            self.begin_at(side, self.epochs.current)

    def begin_at(self, side: Side, epoch: Epoch) -> None:
        """Begin an epoch at one side."""
        life = self.begin_epoch(side, epoch)
        if side is Side.ULTRAVISOR:
            self.uv.epoch = life
        else:
            self.hv.store.epoch = life

    def handler(self, ask: PeerCall) -> Operation[Reply]:
        """Return the operation by which the peer answers, as `answered_by` does."""
        return answered_by(self.uv, self.hv, ask)

    def carry_out(self, side: Side, transfer: Transfer) -> None:
        """Move the bytes of a transfer, as far as `side` reaches."""
        memory = self.mapped if side is Side.ULTRAVISOR else self.memory
        if memory is None:
            raise AssertionError("an Ultravisor to which nobody has said hello moves bytes")
        carry_out(memory, transfer)


def answered_by(uv: Ultravisor, hv: Hypervisor, ask: PeerCall) -> Operation[Reply]:
    """Return the operation by which the peer answers; the caller names the SVM that it means.

    Raise OtherIncarnation, now or at its first step, where that is not the one that there is.
    """
    if CALLS[ask.name].is_ultracall:
        return ultracall(uv, replace(HYPERVISOR, incarnation=ask.incarnation), ask.name, ask.request)
    return hv.hypercall(replace(ULTRAVISOR, incarnation=ask.incarnation), ask.name, ask.request)
