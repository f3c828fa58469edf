"""Both sides in the crash matrix: the explorer's pair, with memory that is searched for canaries, and guests.

A guest shows a token, which is current as long as its VM is the one that it was made for.
"""

import random
from dataclasses import dataclass
from typing import Final, TypeVar

from crash.hello import Exchange
from crash.memory import PrivateFrames, PrivateMemory
from pef_explorer.machines.pair import Pair
from pef_explorer.machines.wire import Message
from pef_hypervisor.checks import Refused
from pef_hypervisor.dispatch import Hypervisor
from pef_kit.core.effects import Operation, PeerCall
from pef_kit.core.lease import leased
from pef_protocol.calls import Reply
from pef_protocol.events import Side
from pef_protocol.http import Caller, Role
from pef_protocol.identity import Epoch, instance_of
from pef_protocol.quantities import Gpa, Lpid
from pef_ultravisor.dispatch import guest_load, guest_store, ultracall
from pef_ultravisor.state import Capacity, Ultravisor

T = TypeVar("T")

NORMAL_BYTES: Final = 128 << 20
MACHINE_KEY: Final = b"what this machine's key is made of"


class Unauthorized(Exception):
    """A token that is not current: HTTP 401."""


@dataclass(frozen=True, slots=True)
class Token:
    """What a guest shows to one side: who it is there."""

    side: Side
    caller: Caller


class Machines(Pair[PrivateMemory]):
    """Both sides; all that was ever sent stays in `messages`, for each is sent again after a side died.

    They say hello by `crash.hello`, in messages: a side may die at each.
    """

    def __init__(self, secure_pages: int) -> None:
        self.secure_pages = secure_pages
        self.messages: list[Message | Exchange] = []
        self.down: set[Side] = set()
        self._entropy = random.Random(1)
        super().__init__()

    def start(self, side: Side) -> None:
        """Start a side anew; nothing is left of what it knew."""
        self.down.discard(side)
        if side is Side.ULTRAVISOR:
            self.frames: list[PrivateFrames] = []
            self.answers_hello = False
        super().start(side)

    def new_memory(self) -> PrivateMemory:
        """Return normal memory that nobody has used."""
        return PrivateMemory(NORMAL_BYTES)

    def new_ultravisor(self) -> Ultravisor:
        """Return an Ultravisor as it starts."""
        capacity = Capacity(self.secure_pages, NORMAL_BYTES)
        return Ultravisor(capacity, self._entropy.randbytes, frames=self._new_frames, machine_key=MACHINE_KEY)

    def new_hypervisor(self) -> Hypervisor:
        """Return a Hypervisor as it starts, with `memory`."""
        instance = instance_of(self._entropy.randbytes(16))
        return Hypervisor(self.memory, device_pages=self.secure_pages, digest_key=b"crash", instance=instance)

    def _new_frames(self, count: int) -> PrivateFrames:
        self.frames.append(PrivateFrames(count))
        return self.frames[-1]

    def stop(self, side: Side) -> None:
        """Let a side die: who calls it finds nobody."""
        self.down.add(side)

    def leased(self, side: Side, operation: Operation[T]) -> Operation[T]:
        """Return an operation that ends with the current epoch."""
        return leased(operation, self.fences[side].life)

    def send(self, ask: PeerCall, depth: int, *, epoch: Epoch | None) -> Message:
        """Put a call on the wire, and keep it."""
        message = super().send(ask, depth, epoch=epoch)
        self.messages.append(message)
        return message

    # Guests

    def token(self, side: Side, lpid: int) -> Token:
        """Return a token for the guest that has `lpid` now."""
        incarnation = self._served_by(side).incarnation_of(lpid)
        return Token(side, Caller(Role.GUEST, Lpid(lpid), incarnation=incarnation))

    def _served_by(self, side: Side) -> Ultravisor | Hypervisor:
        return self.uv if side is Side.ULTRAVISOR else self.hv

    def _lpid_of(self, token: Token) -> Lpid:
        """Return the lpid of the VM whose token this is; raise Unauthorized where that VM has ended."""
        lpid = token.caller.lpid
        if lpid is None or token.caller.incarnation != self._served_by(token.side).incarnation_of(lpid):
            raise Unauthorized(f"the token of VM {lpid} is not current")
        return lpid

    def guest_call(self, token: Token, name: str, request: object) -> Operation[Reply]:
        """Return an ultracall of a guest; raise Unauthorized where its token is not current."""
        self._lpid_of(token)
        return self.leased(Side.ULTRAVISOR, ultracall(self.uv, token.caller, name, request))

    def load(self, token: Token, gpa: int, length: int) -> Operation[memoryview | bytes | Refused]:
        """Return a guest's load; raise Unauthorized where its token is not current."""
        lpid = self._lpid_of(token)
        if token.side is Side.ULTRAVISOR:
            return self.leased(token.side, guest_load(self.uv, lpid, Gpa(gpa), length))
        return self.hv.load(lpid, gpa, length)

    def store(self, token: Token, gpa: int, content: bytes) -> Operation[Refused | None]:
        """Return a guest's store; raise Unauthorized where its token is not current."""
        lpid = self._lpid_of(token)
        if token.side is Side.ULTRAVISOR:
            return self.leased(token.side, guest_store(self.uv, lpid, Gpa(gpa), content))
        return self.hv.store_bytes(lpid, gpa, content)
