"""A life: how long operations on an epoch, a VM or an SVM may go on."""

from dataclasses import dataclass

from pef_protocol.identity import Epoch, Incarnation


@dataclass(eq=False, slots=True)
class Life:
    """How long operations on an object may go on.

    `name` is for people. `incarnation` and `epoch` are what calls to the peer name, where the life is an
    SVM's or an epoch's.
    """

    name: str
    incarnation: Incarnation | None = None
    epoch: Epoch | None = None
    alive: bool = True
    moving: int = 0
    """Effects that move bytes for this life, and are outstanding."""
    ending: bool = False
    """Operations of this life begin no further try and no further call."""

    def end(self) -> None:
        """End the life: no operation of it begins anything more."""
        self.alive = False


class Ended(Exception):
    """The life that an operation acts for is over. Whoever asked for the operation may begin anew."""

    def __init__(self, life: Life) -> None:
        super().__init__(f"{life.name} has ended")
        self.life = life


def keep_nothing(_: Incarnation) -> None:
    """Do nothing at the end of a life: nobody kept anything for it."""


class OtherIncarnation(Exception):
    """A message means an SVM that is not the one which has the lpid now: nothing was done."""
