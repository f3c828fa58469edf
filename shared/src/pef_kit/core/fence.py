"""The fence: each message between the sides acts once or not at all, and never late.

`Fence` is the receiving half, one pure object, the same in a service, in a linked pair and in a search. It is
given every arrival and says what becomes of it:

| verdict | when | what to do |
|---|---|---|
| `Run` | the next number of its slot | do it, then `answered` |
| `Join` | the same number, which is under way | wait for its answer |
| `Answer` | the same number, which was answered | give that answer again |
| `Refuse` | anything else | do nothing |

A slot carries one call at a time, and keeps the answer to its last one until the next begins; so nothing is
done twice however often it arrives, and nothing that arrives late is done. All is forgotten with the epoch,
and messages of an earlier epoch are refused by its name. Two budgets bound what is kept: sessions, and bytes
of answers, reserved before anything is done.

`Session` is the sending half: a call takes a slot, and releases it with its outcome. A slot whose call has no
outcome yet stays taken, whether anybody still waits for it or not: its number must not be used again.

Trust: nothing here decides for the peer. A fence only refuses, or repeats an answer to the same role.

Source: rules 2, 4, 6, 7, 9 and 16 of ARCHITECTURE.md, "Identity and time"; attack catalogue, rows 48, 49, 59.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from pef_kit.core.life import Life
from pef_protocol.identity import CallId, Epoch
from pef_protocol.problems import ProblemType

SESSIONS: Final = 8
"""Speakers that one epoch may have."""
DEPTHS: Final = 9
"""Depths of nesting at which calls may arrive, from 0."""
SLOTS: Final = 64
"""Slots of one session at one depth."""
ANSWER_BYTES: Final = 256 << 20
"""Bytes that all kept answers may have together."""


@dataclass(frozen=True, slots=True)
class Message:
    """A call as it arrives: what it names, what it says, and the longest answer (bytes) that it may have."""

    epoch: Epoch | None
    call: CallId | None
    fingerprint: bytes = b""
    longest: int = 0


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer as it travels."""

    status: int
    media: str
    content: bytes = field(repr=False)


@dataclass(eq=False, slots=True)
class Kept:
    """What a slot keeps of its last call. `task` belongs to its runner: those who join wait for it."""

    number: int
    fingerprint: bytes
    reserved: int
    answer: KeptAnswer | None = None
    task: Any = None


@dataclass(frozen=True, slots=True)
class Run:
    """Do it, under a lease on `life`, and hand the answer to `Fence.answered` however it ends."""

    kept: Kept
    life: Life


@dataclass(frozen=True, slots=True)
class Join:
    """It is under way: wait for the same answer."""

    kept: Kept


@dataclass(frozen=True, slots=True)
class Answer:
    """It was answered."""

    answer: KeptAnswer


@dataclass(frozen=True, slots=True)
class Refuse:
    """Nothing is done: an HTTP status, the type of the problem, a sentence for people."""

    status: int
    kind: ProblemType
    reason: str


def no_life() -> Life:
    """Return the life of no epoch: nothing may act for it."""
    return Life("no epoch", alive=False)


@dataclass(slots=True)
class Fence:
    """What one side remembers of the calls that its peer's role made in the current epoch."""

    budget: int = ANSWER_BYTES
    life: Life = field(default_factory=no_life)
    """The current epoch, as operations hold it; not alive where there is none."""
    held: int = 0
    """Bytes of answers that are kept or reserved."""
    _sessions: dict[str, dict[tuple[int, int], Kept]] = field(default_factory=dict)

    @property
    def epoch(self) -> Epoch | None:
        """Return the current epoch, or None."""
        return self.life.epoch if self.life.alive else None

    def begin(self, epoch: Epoch) -> Life:
        """Begin an epoch and return its life; all that was kept of the one before is gone."""
        self.end()
        self.life = Life(f"epoch {epoch}", epoch=epoch)
        return self.life

    def end(self) -> None:
        """End the current epoch: its operations begin nothing more, no message of it is admitted."""
        self.life.end()
        self._sessions.clear()
        self.held = 0

    def receive(self, message: Message) -> Run | Join | Answer | Refuse:
        """Say what becomes of a message that has just arrived whole."""
        if message.epoch is None:
            reason = (
                "a call between the sides names an epoch: say hello first (GET /v1/epoch, POST /v1/hello)"
            )
            return Refuse(400, ProblemType.NO_EPOCH, reason)
        if message.epoch != self.epoch:
            return Refuse(409, ProblemType.OTHER_EPOCH, f"epoch {message.epoch} is not the current one")
        if message.call is None:
            return Run(Kept(0, message.fingerprint, 0), self.life)
        return self._in_its_slot(message, message.call)

    def _in_its_slot(self, message: Message, call: CallId) -> Run | Join | Answer | Refuse:
        if call.depth >= DEPTHS or call.slot >= SLOTS:
            return Refuse(400, ProblemType.SLOT, f"{call}: depths are below {DEPTHS}, slots below {SLOTS}")
        slots = self._sessions.get(call.session)
        if slots is None and len(self._sessions) == SESSIONS:
            return Refuse(429, ProblemType.NOT_NOW, f"{SESSIONS} sessions are open in this epoch")
        last = slots.get((call.depth, call.slot)) if slots else None
        number = last.number if last else 0
        if call.number < number:
            return Refuse(409, ProblemType.LATE, f"{call}: its slot has carried number {number}")
        if call.number == number and last:
            return self._again(message, call, last)
        if call.number > number + 1:
            return Refuse(400, ProblemType.SLOT, f"{call}: after number {number} comes {number + 1}")
        if last and last.answer is None:
            return Refuse(400, ProblemType.SLOT, f"{call}: number {number} is not answered yet")
        free = self.budget - self.held + (last.reserved if last else 0)
        if message.longest > free:
            reason = f"its answer may have {message.longest} bytes, and {free} may still be kept"
            return Refuse(503, ProblemType.NOT_NOW, reason)
        kept = Kept(call.number, message.fingerprint, message.longest)
        self.held += kept.reserved - (last.reserved if last else 0)
        self._sessions.setdefault(call.session, {})[call.depth, call.slot] = kept
        return Run(kept, self.life)

    @staticmethod
    def _again(message: Message, call: CallId, last: Kept) -> Join | Answer | Refuse:
        if message.fingerprint != last.fingerprint:
            return Refuse(400, ProblemType.SLOT, f"{call}: that number was used for another message")
        return Join(last) if last.answer is None else Answer(last.answer)

    def answered(self, run: Run, answer: KeptAnswer) -> None:
        """Keep the answer to a call; at every end of it, whatever went wrong.

        One of an earlier epoch is kept for those who wait for it, and counted no more.
        """
        kept = run.kept
        kept.answer = answer
        if run.life is self.life and run.life.alive and kept.number:
            self.held += len(answer.content) - kept.reserved
            kept.reserved = len(answer.content)


# The sending half


@dataclass(eq=False, slots=True)
class SenderSlot:
    """One slot of a session at one depth; `number` is that of its last call that was received."""

    depth: int
    place: int
    number: int = 0


@dataclass(slots=True)
class Session:
    """One speaker in one epoch: `size` slots at each depth. `name` never comes again."""

    name: str
    size: int
    _free: dict[int, list[SenderSlot]] = field(default_factory=dict)

    def take(self, depth: int) -> SenderSlot | None:
        """Return a slot that carries no call, or None."""
        free = self._free.get(depth)
        if free is None:
            free = self._free[depth] = [SenderSlot(depth, place) for place in reversed(range(self.size))]
        return free.pop() if free else None

    def call_id(self, slot: SenderSlot) -> CallId:
        """Return the id of the call that `slot` carries: the number after its last one."""
        return CallId(self.name, slot.depth, slot.place, slot.number + 1)

    def release(self, slot: SenderSlot, *, received: bool) -> None:
        """Take a slot back with the outcome of its call; `received` tells whether its number is used up."""
        slot.number += received
        self._free[slot.depth].append(slot)
