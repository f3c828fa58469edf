"""Both machines linked in one process: what one asks, the other answers at once. No HTTP, no thread."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from harness.held import may_go_on
from pef_explorer.machines.pair import answered_by
from pef_hypervisor.dispatch import Hypervisor
from pef_kit.core.effects import Backoff, Effect, Offload, Operation, PeerCall, Transfer
from pef_kit.runtime.bus import NormalMemory, carry_out
from pef_kit.runtime.runner import drive
from pef_protocol.calls import Reply
from pef_protocol.http import Caller, Role
from pef_protocol.identity import instance_of
from pef_protocol.quantities import Lpid
from pef_ultravisor import invariants
from pef_ultravisor.dispatch import ultracall
from pef_ultravisor.state import Capacity, Ultravisor

T = TypeVar("T")

NORMAL_BYTES = 1 << 30


def run_now(operation: Operation[T], perform: Callable[[Effect], Any]) -> T:
    """Drive an operation to its end without an event loop: what it yields is performed at once."""

    async def performed(effect: Effect) -> Any:
        return perform(effect)

    coroutine = drive(operation, performed)
    try:
        coroutine.send(None)
    except StopIteration as end:
        outcome: T = end.value
        return outcome
    finally:
        coroutine.close()
    message = "an operation waited for something"
    raise AssertionError(message)


def seeded(seed: int) -> Callable[[int], bytes]:
    """Return an entropy function: the same seed gives the same bytes."""
    return np.random.default_rng(seed).bytes


class LinkedPair:
    """An Ultravisor and a Hypervisor that answer each other at once.

    `secure_pages` bounds both pools. `witness` sees every call between the two with its reply.
    """

    def __init__(self, secure_pages: int = 4096, seed: int = 1, normal_bytes: int = NORMAL_BYTES) -> None:
        self.memory = NormalMemory.unshared(normal_bytes)
        self.uv = Ultravisor(Capacity(secure_pages, normal_bytes), seeded(seed))
        self.hv = Hypervisor(
            self.memory, device_pages=secure_pages, digest_key=b"test", instance=instance_of(bytes(16))
        )
        self.witness: Callable[[PeerCall, Reply], None] = lambda ask, reply: None

    def perform(self, effect: Effect) -> Any:
        """Perform what either machine yields."""
        match effect:
            case PeerCall(name, request):
                reply = self.call(name, request)
                self.witness(effect, reply)
                return reply
            case Transfer():
                carry_out(self.memory, effect)
            case Offload(run):
                return run()
            case Backoff():
                return may_go_on(effect)
        return None

    def run(self, operation: Operation[T]) -> T:
        """Run an operation of either machine."""
        return run_now(operation, self.perform)

    def call(self, name: str, request: Any) -> Reply:
        """Make a call as the other side would."""
        return self.run(answered_by(self.uv, self.hv, PeerCall(name, request)))

    def guest_call(self, lpid: int, name: str, request: Any) -> Reply:
        """Make an ultracall as the kernel of a VM."""
        return self.run(ultracall(self.uv, Caller(Role.GUEST, Lpid(lpid)), name, request))

    def digests(self) -> tuple[str, str]:
        """Return the digests of both sides."""
        return self.uv.digest(), self.hv.digest()

    def broken(self) -> list[str]:
        """Return what either side says is broken."""
        return [*invariants.broken(self.uv), *self.hv.invariants()]
