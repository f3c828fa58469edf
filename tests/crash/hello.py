"""How an epoch begins, without HTTP: what the Hypervisor's link sends, and how the Ultravisor answers.

Either side may die before any of these messages arrives, after it was done, and between the yields of what is
done for it.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from crash.memory import PrivateMemory
from pef_kit.core.effects import Backoff, Effect, Operation, PeerFailure
from pef_kit.core.hello import Hello
from pef_kit.core.lease import Ended
from pef_protocol.events import Side
from pef_protocol.identity import Epoch, InstanceId

if TYPE_CHECKING:
    from crash.wire import Machines

GET_EPOCH: Final = "GET /v1/epoch"
POST_HELLO: Final = "POST /v1/hello"


@dataclass(frozen=True, slots=True)
class Exchange:
    """A message of the link to the Ultravisor; `arrive` returns the operation that answers it."""

    name: str
    arrive: Callable[[], Operation[Any]] = field(repr=False)
    to: Side = Side.ULTRAVISOR


T = TypeVar("T")
Steps: TypeAlias = Generator[Effect | Exchange, Any, T]
"""An operation that may send messages of the link as well."""


def introduce(machines: "Machines") -> Steps[None]:
    """Do what the Hypervisor's link does once either side has started anew: hello, and what follows."""
    yield from machines.leave_epoch()
    epoch = yield from _begin(machines)
    for attempt in count():
        try:
            yield from machines.fit()
        except (Ended, PeerFailure):
            if (yield from _read(machines)) == epoch:
                yield Backoff(attempt, ignore_deadline=True)
            else:
                yield from machines.leave_epoch()
                epoch = yield from _begin(machines)
        else:
            return


def _begin(machines: "Machines") -> Steps[Epoch]:
    """Say hello until it is answered with an epoch, and begin that."""
    instance = machines.hv.store.instance
    for attempt in count():
        arrive = partial(answer_hello, machines, instance, (yield from _read(machines)), machines.memory)
        epoch: Epoch | None = yield Exchange(POST_HELLO, arrive)
        if epoch is not None:
            machines.begin_at(Side.HYPERVISOR, epoch)
            return epoch
        yield Backoff(attempt, ignore_deadline=True)
    raise AssertionError


def _read(machines: "Machines") -> Steps[Epoch]:
    epoch: Epoch = yield Exchange(GET_EPOCH, partial(answer_epoch, machines))
    return epoch


def answer_epoch(machines: "Machines") -> Operation[Epoch]:
    """Answer which epoch is the current one."""
    yield from ()
    return machines.epochs.current


def answer_hello(
    machines: "Machines", instance: InstanceId, read: Epoch, memory: PrivateMemory
) -> Operation[Epoch | None]:
    """Answer the hello of a Hypervisor that has read an epoch: the epoch that it owns, or None."""
    verdict = machines.epochs.judge(instance, read)
    if verdict is Hello.REFUSE or machines.answers_hello:
        return None
    if verdict is Hello.TAKE_OVER:
        machines.answers_hello = True
        yield from machines.take_over(instance, memory)
        machines.answers_hello = False
    return machines.epochs.current
