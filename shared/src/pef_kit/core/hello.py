"""Hello is compare-and-set: how an epoch begins, and who owns it.

A Hypervisor reads the current epoch and says hello with what it read. The Ultravisor acts only if that is
still the current epoch and that instance never owned one here. So a hello that is late, repeated or overtaken
ends nothing, and two Hypervisors never end each other's SVMs in turn.

Source: rule 2 of ARCHITECTURE.md, "Identity and time"; attack catalogue, row 56.
"""

from dataclasses import dataclass, field
from enum import Enum

from pef_protocol.identity import Epoch, InstanceId


class Hello(Enum):
    """What becomes of a hello."""

    TAKE_OVER = "the current epoch ends, and one of this instance begins"
    ITS_OWN = "the epoch that it began is the current one: the same answer, no effect"
    REFUSE = "nothing is done"


@dataclass(slots=True)
class Epochs:
    """The epochs that one Ultravisor has had. The first has no owner: nobody has said hello yet."""

    instance: InstanceId
    count: int = 1
    owner: InstanceId | None = None
    _owners: set[InstanceId] = field(default_factory=set)
    """Every instance that ever owned an epoch here."""

    @property
    def current(self) -> Epoch:
        """Return the current epoch."""
        return Epoch(self.instance, self.count)

    def judge(self, instance: InstanceId, read: Epoch) -> Hello:
        """Say what becomes of the hello of `instance`, which read epoch `read` before."""
        if instance == self.owner:
            return Hello.ITS_OWN
        return Hello.TAKE_OVER if read == self.current and instance not in self._owners else Hello.REFUSE

    def take_over(self, instance: InstanceId) -> Epoch:
        """Let the epoch of `instance` be the current one, and return it."""
        self.count += 1
        self.owner = instance
        self._owners.add(instance)
        return self.current
