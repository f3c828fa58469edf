"""Messages of one VM, held on both wires until somebody says what becomes of each.

What is held is what a counterexample counts as a step (`pef_lab.replay.traffic`): each call about a GFN that
the session acts on, or about the whole VM; its answer; and transfers of pages where they travel over HTTP.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias

from pef_lab.between.passing import COUNT, ROW, Answer, Passing, refusal
from pef_lab.replay.counterexample import MOVES
from pef_lab.replay.traffic import Actor, Stop, Traffic
from pef_protocol.events import Side
from pef_protocol.problems import ProblemType

Kind: TypeAlias = Literal["ask", "answer", "bus"]

CLOSED: Final = "closed"
"""The fault of what was held as its VM ended: whoever waits for it gets no outcome."""
LOST, DOUBLED, REFUSED, BUSY, CORRUPTED = "lost", "doubled", "refused", "busy", "corrupted"
FAULT_OF: Final[dict[str, str | None]] = {
    "deliver": None,
    "lose": LOST,
    "repeat": DOUBLED,
    "refuse": REFUSED,
    "busy": BUSY,
    "corrupt": CORRUPTED,
}
"""What becomes of a held message, and the fault that a move has for it."""
ACTION_OF: Final = {fault: action for action, fault in FAULT_OF.items()}
_POSSIBLE: Final[dict[Kind, tuple[str, ...]]] = {
    "ask": ("deliver", "lose", "repeat", "refuse", "busy"),
    "answer": ("deliver", "lose"),
    "bus": ("deliver", "lose", "corrupt"),
}
READ, WRITE = "read", "write"


@dataclass(eq=False, slots=True)
class HeldMessage:
    """A message that waits on a wire. It has the name of a call or bus request, and no byte of a page."""

    number: int
    actor: Actor
    kind: Kind
    message: str
    sender: Side
    receiver: Side
    call_id: str
    code: str
    stop: Stop
    released: "asyncio.Future[str | None]" = field(repr=False)

    @property
    def id(self) -> str:
        """Return the name by which it is released."""
        return f"h{self.number}"

    @property
    def actions(self) -> tuple[str, ...]:
        """Return what may become of it."""
        found = _POSSIBLE[self.kind]
        return found if self.message in {READ, WRITE} or self.kind != "bus" else found[:-1]

    def shown(self) -> dict[str, Any]:
        """Return it as a frame has it."""
        return {
            "id": self.id,
            "kind": self.kind,
            "message": self.message,
            "from": self.sender.value,
            "to": self.receiver.value,
            "code": self.code or None,
            "text": self.stop.words,
            "actions": [*self.actions],
        }


class HeldTraffic(Traffic):
    """All that passes between two services. `on_change` is called whenever a message is held."""

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.on_change = on_change
        self._held_messages: dict[str, HeldMessage] = {}
        self._count = 0

    @property
    def held_messages(self) -> tuple[HeldMessage, ...]:
        """Return what is held, in the order in which it came."""
        return tuple(self._held_messages.values())

    def held_of(self, actor: Actor) -> HeldMessage | None:
        """Return what is held of an actor, the first where there is more; or None."""
        return next((each for each in self.held_messages if each.actor is actor), None)

    def find(self, name: str) -> HeldMessage | None:
        """Return a held message by its id, or None."""
        return self._held_messages.get(name)

    def also(self, gfn: int) -> None:
        """Hold messages about one more GFN of the VM, too."""
        self._mapped |= {gfn}

    def no_longer(self, gfn: int) -> None:
        """Hold no message for being about a GFN."""
        self._mapped -= {gfn}

    def let_pass(self, message: HeldMessage, fault: str | None = None) -> None:
        """Let a held message go on, with a fault that befalls it or none."""
        del self._held_messages[message.id]
        self.active = message.actor
        waiting = self.held_of(message.actor)
        message.actor.at = waiting.stop if waiting else None
        if not message.released.done():
            message.released.set_result(fault)

    def end_all(self) -> None:
        """Hold nothing any more, and fail what is held: its senders get no outcome."""
        self.free = True
        for each in self.held_messages:
            self.let_pass(each, CLOSED)

    async def _answer(self, passing: Passing) -> Answer:
        gfns = self._gfns(passing)
        actor = None if self.free or not self._is_ours(passing, gfns) else self._actor_of(passing, gfns)
        if actor is None:
            return await self._forwarded(passing)
        if passing.call_id:
            self._calls[passing.call_id] = actor
        if actor.unheld or not self._is_about(passing, gfns):
            return await self._forwarded(passing)
        if passing.is_bus:
            return await self._of_pages(passing, actor)
        fault = await self._wait(passing, actor, "ask", f"asks {passing.name}")
        if fault in {LOST, CLOSED}:
            return refusal(ProblemType.BROKEN, 500)
        answer = await self._delivered(passing, actor, fault)
        code = self._code(passing, answer)
        fault = await self._wait(passing, actor, "answer", f"answers {code}", code)
        return answer if fault is None else refusal(ProblemType.BROKEN, 500)

    async def _of_pages(self, passing: Passing, actor: Actor) -> Answer:
        """See a transfer of pages through; a corrupted one has another bit in its first page."""
        fault = await self._wait(passing, actor, "bus", MOVES)
        if fault in {LOST, CLOSED}:
            return refusal(ProblemType.BROKEN, 500)
        if fault == CORRUPTED and passing.name == WRITE:
            start = COUNT + len(passing.rows) * ROW.size
            passing.body = passing.body[:start] + flipped(passing.body[start:], passing.rows[0][1])
        answer = await self._forwarded(passing)
        if fault == CORRUPTED and passing.name == READ:
            return replace(answer, content=flipped(answer.content, passing.rows[0][1]))
        return answer

    async def _wait(
        self, passing: Passing, actor: Actor, kind: Kind, words: str, code: str = ""
    ) -> str | None:
        if self.free:
            return None
        self._count += 1
        ends = [side for side in Side if side is not passing.to] + [passing.to]
        sender, receiver = reversed(ends) if kind == "answer" else ends
        released: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        message = HeldMessage(
            self._count,
            actor,
            kind,
            passing.name,
            sender,
            receiver,
            passing.call_id,
            code,
            Stop(words),
            released,
        )
        self._held_messages[message.id] = message
        actor.at = actor.at or message.stop
        actor.stops.put_nowait(message.stop)
        self.on_change()
        return await released


def flipped(content: bytes, length: int) -> bytes:
    """Return bytes of which the lowest bit of the one in the middle of the first `length` is another."""
    at = min(length, len(content)) // 2
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :] if content else content
