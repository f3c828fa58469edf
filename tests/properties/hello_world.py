"""Hello as a world that is searched: the real record of epochs, and Hypervisors that start, die and are late.

A Hypervisor starts once the one before it is dead, for it holds the lock of the volume. Each hello that was
ever sent arrives any number of times, in any order.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pef_kit.core.hello import Epochs, Hello
from pef_protocol.identity import Epoch, InstanceId
from properties.searching import Step

HYPERVISORS = 3
MOST_EPOCHS = 6
"""Epochs after which no hello arrives: with a mutant there might be no end."""


@dataclass(frozen=True, slots=True)
class HelloRules:
    """The part that is searched, and what those around it do."""

    make_epochs: Callable[[InstanceId], Epochs] = Epochs
    own_file: bool = True
    """Each Hypervisor makes a file of its own, and the Ultravisor maps it at hello."""


@dataclass(slots=True)
class Host:
    """One run of a Hypervisor. `state`: none, up, owner, superseded, dead."""

    state: str = "none"
    read: Epoch | None = None
    epoch: Epoch | None = None


@dataclass
class HelloWorld:
    """One state: the Ultravisor, with the SVMs of the `owner` of its epoch, and all runs of a Hypervisor."""

    rules: HelloRules
    epochs: Epochs
    hosts: list[Host] = field(default_factory=lambda: [Host() for _ in range(HYPERVISORS)])
    net: list[tuple[int, Epoch]] = field(default_factory=list)
    calls: list[tuple[int, Epoch]] = field(default_factory=list)
    """Calls that were ever sent: by whom, in which epoch."""
    owner: int | None = None
    svms: bool = False
    """A call of the owner has acted: there are SVMs."""
    memory_of: int | None = None
    """Whose memory the Ultravisor has mapped."""
    broken: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, rules: HelloRules) -> "HelloWorld":
        """Return the first state: an Ultravisor to which nobody has said hello."""
        return cls(rules, rules.make_epochs(InstanceId("0" * 32)))

    def steps(self) -> Iterator[Step]:
        """Yield what may happen next."""
        for number, host in enumerate(self.hosts):
            if host.state == "none" and (number == 0 or self.hosts[number - 1].state == "dead"):
                yield f"Hypervisor {number} starts", "starts", (number,)
            if host.state in {"up", "owner"}:
                yield f"Hypervisor {number} dies", "dies", (number,)
            if host.state == "up":
                if host.read != self.epochs.current:
                    yield f"Hypervisor {number} reads the epoch", "reads", (number,)
                if host.read is not None:
                    yield f"Hypervisor {number} says hello", "says", (number,)
            if host.state == "owner" and host.epoch is not None:
                yield f"Hypervisor {number} makes a call", "calls_", (number,)
        for number, read in self.net if self.epochs.count < MOST_EPOCHS else ():
            yield f"the hello of Hypervisor {number} arrives", "arrives", (number, read)
        for number, epoch in self.calls:
            yield f"a call of Hypervisor {number} arrives", "acts", (number, epoch)
        if self.svms:
            yield "an SVM writes to normal memory", "writes", ()

    def starts(self, number: int) -> None:
        """Start a Hypervisor. Without a file of its own it empties the one that there is, for itself."""
        self.hosts[number].state = "up"
        if not self.rules.own_file:
            self.memory_of = number

    def dies(self, number: int) -> None:
        """Let a Hypervisor die."""
        self.hosts[number].state = "dead"

    def reads(self, number: int) -> None:
        """Let a Hypervisor read the current epoch."""
        self.hosts[number].read = self.epochs.current

    def says(self, number: int) -> None:
        """Let a Hypervisor send a hello."""
        read = self.hosts[number].read
        if read is not None and (number, read) not in self.net:
            self.net.append((number, read))

    def arrives(self, number: int, read: Epoch) -> None:
        """Let a hello arrive, and its answer where its sender lives."""
        host = self.hosts[number]
        verdict = self.epochs.judge(instance_of(number), read)
        if verdict is Hello.TAKE_OVER:
            if self.owner is not None and self.hosts[self.owner].state == "owner":
                self.broken.append("a Hypervisor that lives lost its SVMs")
            self.epochs.take_over(instance_of(number))
            self.owner, self.svms = number, False
            if self.rules.own_file:
                self.memory_of = number
        if verdict is not Hello.REFUSE and host.state == "up":
            host.state, host.epoch = "owner", self.epochs.current

    def calls_(self, number: int) -> None:
        """Let an owner send a call."""
        epoch = self.hosts[number].epoch
        if epoch is not None and (number, epoch) not in self.calls:
            self.calls.append((number, epoch))

    def acts(self, number: int, epoch: Epoch) -> None:
        """Let a call arrive."""
        if epoch == self.epochs.current:
            self.svms = True
            if number != self.owner:
                self.broken.append("a Hypervisor acts that is not the last that said hello")

    def writes(self) -> None:
        """Let an SVM write to what the Ultravisor has mapped."""
        if self.memory_of != self.owner:
            self.broken.append("an SVM writes to the memory of another Hypervisor")

    def waiting(self) -> bool:
        """Tell whether a Hypervisor that lives has no epoch."""
        return any(host.state == "up" for host in self.hosts)


def instance_of(number: int) -> InstanceId:
    """Return the instance id of a Hypervisor."""
    return InstanceId(f"{number:032x}")
