"""The fence: what becomes of a message that arrives in order, again, late, or in another epoch."""

import pytest

from pef_kit.core.fence import DEPTHS, SESSIONS, SLOTS, Answer, Fence, Join, KeptAnswer, Message, Refuse, Run
from pef_protocol.identity import CallId, Epoch, InstanceId
from pef_protocol.problems import ProblemType

FIRST = Epoch(InstanceId("0" * 32), 1)
SECOND = Epoch(InstanceId("0" * 32), 2)
DONE = KeptAnswer(200, "application/json", b"done")


@pytest.fixture
def fence() -> Fence:
    fence = Fence(budget=100)
    fence.begin(FIRST)
    return fence


def message(
    number: int,
    *,
    slot: int = 0,
    epoch: Epoch = FIRST,
    said: bytes = b"x",
    session: str = "s",
    longest: int = 4,
) -> Message:
    return Message(epoch, CallId(session, 1, slot, number), said, longest)


def run(fence: Fence, arrived: Message, answer: KeptAnswer = DONE) -> None:
    verdict = fence.receive(arrived)
    assert isinstance(verdict, Run)
    fence.answered(verdict, answer)


def refused(fence: Fence, arrived: Message) -> tuple[int, ProblemType]:
    verdict = fence.receive(arrived)
    assert isinstance(verdict, Refuse)
    return verdict.status, verdict.kind


def test_a_message_is_done_once_and_its_answer_is_given_again(fence: Fence) -> None:
    run(fence, message(1))
    assert fence.receive(message(1)) == Answer(DONE)
    assert fence.receive(message(1)) == Answer(DONE)


def test_a_repeat_of_a_message_that_is_under_way_joins_it(fence: Fence) -> None:
    verdict = fence.receive(message(1))
    assert isinstance(verdict, Run)
    assert fence.receive(message(1)) == Join(verdict.kept)


def test_a_late_message_is_refused(fence: Fence) -> None:
    run(fence, message(1))
    run(fence, message(2))
    assert refused(fence, message(1)) == (409, ProblemType.LATE)


def test_a_number_that_leaves_a_gap_is_refused(fence: Fence) -> None:
    assert refused(fence, message(2)) == (400, ProblemType.SLOT)
    run(fence, message(1))
    assert refused(fence, message(1000)) == (400, ProblemType.SLOT)


def test_a_number_that_is_used_for_another_message_is_refused(fence: Fence) -> None:
    run(fence, message(1))
    assert refused(fence, message(1, said=b"y")) == (400, ProblemType.SLOT)


def test_a_slot_carries_one_call_at_a_time(fence: Fence) -> None:
    assert isinstance(fence.receive(message(1)), Run)
    assert refused(fence, message(2)) == (400, ProblemType.SLOT)
    assert isinstance(fence.receive(message(1, slot=1)), Run)


@pytest.mark.parametrize("call", [CallId("s", DEPTHS, 0, 1), CallId("s", 0, SLOTS, 1)])
def test_slots_that_do_not_exist_are_refused(fence: Fence, call: CallId) -> None:
    assert refused(fence, Message(FIRST, call, b"x")) == (400, ProblemType.SLOT)


def test_eight_sessions_and_no_more(fence: Fence) -> None:
    for number in range(SESSIONS):
        run(fence, message(1, session=f"s{number}"))
    assert refused(fence, message(1, session="one more")) == (429, ProblemType.NOT_NOW)
    run(fence, message(2, session="s0"))


def test_the_longest_answer_is_reserved_before_anything_is_done(fence: Fence) -> None:
    first = fence.receive(message(1, longest=90))
    assert isinstance(first, Run)
    assert refused(fence, message(1, slot=1, longest=20)) == (503, ProblemType.NOT_NOW)
    fence.answered(first, DONE)
    assert fence.held == len(DONE.content)
    run(fence, message(1, slot=1, longest=20))


def test_an_answer_is_dropped_when_the_next_call_of_its_slot_begins(fence: Fence) -> None:
    for number in range(1, 50):
        run(fence, message(number, longest=90))
    assert fence.held == len(DONE.content)


def test_a_message_without_an_epoch_is_told_to_say_hello(fence: Fence) -> None:
    verdict = fence.receive(Message(None, CallId("s", 1, 0, 1)))
    assert isinstance(verdict, Refuse)
    assert (verdict.status, verdict.kind) == (400, ProblemType.NO_EPOCH)
    assert "say hello first" in verdict.reason


def test_a_message_of_another_epoch_is_refused_before_and_after_its_time(fence: Fence) -> None:
    run(fence, message(1))
    assert refused(fence, message(1, epoch=SECOND)) == (409, ProblemType.OTHER_EPOCH)
    fence.begin(SECOND)
    assert refused(fence, message(1)) == (409, ProblemType.OTHER_EPOCH)
    assert refused(fence, message(2)) == (409, ProblemType.OTHER_EPOCH)


def test_nothing_is_admitted_between_two_epochs(fence: Fence) -> None:
    fence.end()
    assert refused(fence, message(1)) == (409, ProblemType.OTHER_EPOCH)


def test_the_end_of_an_epoch_ends_its_operations_and_forgets_its_answers(fence: Fence) -> None:
    verdict = fence.receive(message(1, longest=90))
    assert isinstance(verdict, Run)
    life = fence.begin(SECOND)
    assert not verdict.life.alive
    assert life.alive
    fence.answered(verdict, DONE)
    assert fence.held == 0
    assert isinstance(fence.receive(message(1, epoch=SECOND, longest=90)), Run)


def test_a_call_of_a_peer_without_slots_acts_at_each_arrival(fence: Fence) -> None:
    for _ in range(3):
        verdict = fence.receive(Message(FIRST, None, b"x", 1 << 30))
        assert isinstance(verdict, Run)
        fence.answered(verdict, DONE)
    assert fence.held == 0
