"""The adapter: how messages travel between the two sides, and what a side says when it starts anew.

In this tree a message travels as it is, and a side that starts says nothing. All that the crash matrix knows
of the message layer stands here; the rest asks for it.
"""

import random
from dataclasses import dataclass
from typing import Final

from crash.memory import PrivateFrames, PrivateMemory
from pef_hypervisor.from_guest.memory_access import Refused
from pef_hypervisor.machine import Hypervisor
from pef_kit.bus import NORMAL_BASE, carry_out
from pef_kit.operations import Ask, Operation, PeerFailure, Transfer
from pef_protocol.calls import CALLS, Reply
from pef_protocol.events import Side
from pef_protocol.identity import instance_of
from pef_protocol.quantities import Lpid
from pef_protocol.wire import Caller, Role
from pef_ultravisor.from_guest.accesses import guest_load, guest_store
from pef_ultravisor.handlers import ultracall
from pef_ultravisor.machine import Capacity, Ultravisor

NORMAL_BYTES: Final = 128 << 20


class Unauthorized(Exception):
    """A token that is not current: HTTP 401."""


@dataclass(frozen=True, slots=True)
class Message:
    """A call as it was sent; `number` counts all that were ever sent, in both directions."""

    number: int
    sender: Side
    ask: Ask

    @property
    def to(self) -> Side:
        """Return the side that answers it."""
        return Side.ULTRAVISOR if CALLS[self.ask.name].is_ultracall else Side.HYPERVISOR


@dataclass(frozen=True, slots=True)
class Token:
    """What a guest shows to one side: who it is there."""

    side: Side
    caller: Caller


class Machines:
    """Both sides as they run now, the normal memory between them, and every message that was ever sent."""

    def __init__(self, secure_pages: int) -> None:
        self.secure_pages = secure_pages
        self.memory = PrivateMemory(NORMAL_BYTES)
        self.sent: list[Message] = []
        self.down: set[Side] = set()
        self._entropy = random.Random(1)
        self.start(Side.ULTRAVISOR)
        self.start(Side.HYPERVISOR)
        self.sent.clear()

    def start(self, side: Side) -> None:
        """Start a side anew; nothing is left of what it knew."""
        self.down.discard(side)
        if side is Side.ULTRAVISOR:
            self.frames: list[PrivateFrames] = []
            self.uv = Ultravisor(
                Capacity(self.secure_pages, NORMAL_BYTES), self._entropy.randbytes, frames=self._new_frames
            )
        else:
            self.memory.discard(NORMAL_BASE, NORMAL_BYTES)
            instance = instance_of(self._entropy.randbytes(16))
            self.hv = Hypervisor(
                self.memory, device_pages=self.secure_pages, digest_key=b"crash", instance=instance
            )

    def _new_frames(self, count: int) -> PrivateFrames:
        self.frames.append(PrivateFrames(count))
        return self.frames[-1]

    def stop(self, side: Side) -> None:
        """Let a side die: who calls it finds nobody."""
        self.down.add(side)

    def introduce(self, side: Side) -> list[tuple[Side, Operation[None]]]:
        """Return the operations by which a side that started anew makes itself known, with who makes them."""
        return []

    def send(self, sender: Side, ask: Ask) -> Message:
        """Put a call on the wire."""
        message = Message(len(self.sent), sender, ask)
        self.sent.append(message)
        return message

    def receive(self, message: Message) -> Operation[Reply]:
        """Return the operation by which the side that is called answers a message that has arrived."""
        if message.to in self.down:
            raise self.lost(message)
        name, request = message.ask.name, message.ask.request
        if message.to is Side.ULTRAVISOR:
            return ultracall(self.uv, Caller(Role.HYPERVISOR), name, request)
        return self.hv.hypercall(Caller(Role.ULTRAVISOR), name, request)

    def lost(self, message: Message) -> PeerFailure:
        """Return what the sender of a message reads whose answer was lost with the side that is called."""
        return PeerFailure(message.ask.name, message.to.value, "no answer")

    def carry_out(self, transfer: Transfer) -> None:
        """Move bytes over the memory bus."""
        carry_out(self.memory, transfer)

    # Guests

    def token(self, side: Side, lpid: int) -> Token:
        """Return a token for the guest that has `lpid` now."""
        return Token(side, Caller(Role.GUEST, Lpid(lpid)))

    def guest_call(self, token: Token, name: str, request: object) -> Operation[Reply]:
        """Return an ultracall of a guest; raise Unauthorized where its token is not current."""
        return ultracall(self.uv, token.caller, name, request)

    def load(self, token: Token, gpa: int, length: int) -> Operation[memoryview | bytes | Refused]:
        """Return a guest's load; raise Unauthorized where its token is not current."""
        lpid = token.caller.lpid or Lpid(0)
        if token.side is Side.ULTRAVISOR:
            return guest_load(self.uv, lpid, gpa, length)
        return self.hv.load(lpid, gpa, length)

    def store(self, token: Token, gpa: int, content: bytes) -> Operation[Refused | None]:
        """Return a guest's store; raise Unauthorized where its token is not current."""
        lpid = token.caller.lpid or Lpid(0)
        if token.side is Side.ULTRAVISOR:
            return guest_store(self.uv, lpid, gpa, content)
        return self.hv.store_bytes(lpid, gpa, content)
