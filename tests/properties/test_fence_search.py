"""The real fence, slots and hello, searched exhaustively: nothing acts twice, nothing acts late.

The properties are (1), (2), (3) and (7) of ARCHITECTURE.md, "Identity and time", and that nobody waits for
ever. Each mutant must be found, so that the search is known to see.
"""

from dataclasses import dataclass, field, replace

import pytest

from pef_kit.core.fence import Answer, Kept, KeptAnswer, Message, Refuse, Run, SenderSlot, Session, no_life
from pef_kit.core.hello import Epochs, Hello
from pef_protocol.identity import CallId, Epoch, InstanceId
from pef_protocol.problems import ProblemType
from properties.fence_world import Rules, World
from properties.hello_world import HelloRules, HelloWorld
from properties.searching import Searched, search

TWO_CALLS = Rules(calls=2)
"""Two calls, two lives, and a side that dies once."""
THREE_CALLS = Rules(deaths=0, lives=1)


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param(TWO_CALLS, id="a side dies"),
        pytest.param(THREE_CALLS, id="three calls", marks=pytest.mark.verify),
    ],
)
def test_the_fence_lets_nothing_act_twice_or_late(rules: Rules) -> None:
    found = search(World.of(rules))
    assert found.violations == {}
    assert found.states > 500


def test_hello_gives_each_epoch_one_owner() -> None:
    found = search(HelloWorld.of(HelloRules()))
    assert found.violations == {}
    assert found.states > 500


class Marks(Session):
    """Counts calls in one row; a message says which is the oldest that is awaited, in place of a depth."""

    def take(self, depth: int) -> SenderSlot | None:
        awaited, sent = self._free.setdefault(0, []), self._free.setdefault(1, [])
        slot = SenderSlot(depth, 0, len(sent) + 1)
        awaited.append(slot)
        sent.append(slot)
        return slot

    def call_id(self, slot: SenderSlot) -> CallId:
        return CallId(self.name, min(each.number for each in self._free[0]), 0, slot.number)

    def release(self, slot: SenderSlot, *, received: bool) -> None:
        self._free[0].remove(slot)


@dataclass
class MarkedReceiver:
    """Forgets what is older than the mark of a message, and keeps one answer."""

    epoch: Epoch | None = None
    mark: int = 0
    kept: dict[int, KeptAnswer | None] = field(default_factory=dict)

    def begin(self, epoch: Epoch) -> None:
        self.epoch, self.mark, self.kept = epoch, 0, {}

    def receive(self, message: Message) -> Run | Answer | Refuse:
        assert message.call is not None
        number = message.call.number
        if message.epoch != self.epoch:
            return Refuse(409, ProblemType.OTHER_EPOCH, "")
        if number < self.mark:
            return Refuse(409, ProblemType.LATE, "")
        self.mark = max(self.mark, message.call.depth)
        if number in self.kept:
            answer = self.kept[number]
            return Answer(answer) if answer else Refuse(503, ProblemType.NOT_NOW, "")
        self.kept[number] = None
        return Run(Kept(number, b"", 0), no_life())

    def answered(self, run: Run, answer: KeptAnswer) -> None:
        self.kept = {run.kept.number: answer}


class NoCompare(Epochs):
    """Takes every hello."""

    def judge(self, instance: InstanceId, read: Epoch) -> Hello:
        return Hello.ITS_OWN if instance == self.owner else Hello.TAKE_OVER


BARE = Rules(calls=2, deaths=0)
MUTANTS = {
    "a mark, not the number of a slot": (
        World.of(replace(BARE, make_session=Marks, make_receiver=MarkedReceiver)),
        "an effect twice",
    ),
    "giving up without ending the life": (
        World.of(replace(BARE, forgets=True)),
        "an effect after its sender gave it up",
    ),
    "a slot given back before there is an outcome": (
        World.of(replace(BARE, slot_stays_taken=False)),
        "a call that was sent in order is refused by its number",
    ),
    "the epoch read at the moment of sending": (
        World.of(replace(TWO_CALLS, lives=1, epoch_at_send=True)),
        "an effect in a later epoch",
    ),
    "the incarnation not compared": (
        World.of(replace(BARE, compares_incarnation=False)),
        "an effect for another life",
    ),
    "busy kept as an answer": (World.of(replace(BARE, keeps_busy=True)), "somebody waits for ever"),
    "no answer after an exception": (
        World.of(replace(BARE, answers_every_end=False)),
        "somebody waits for ever",
    ),
    "hello without a compare": (
        HelloWorld.of(HelloRules(make_epochs=NoCompare)),
        "a Hypervisor that lives lost its SVMs",
    ),
    "memory emptied before hello": (
        HelloWorld.of(HelloRules(own_file=False)),
        "an SVM writes to the memory of another Hypervisor",
    ),
}


@pytest.mark.parametrize(("start", "violation"), MUTANTS.values(), ids=MUTANTS)
def test_the_search_sees_each_mutant(start: Searched, violation: str) -> None:
    assert violation in search(start).violations
