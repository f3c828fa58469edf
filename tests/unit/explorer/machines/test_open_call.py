"""Operations stepped one yield at a time: where they stop, what befalls a request, what is the same place."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pef_explorer.machines.faults import Fault
from pef_explorer.machines.open_call import OpenCall, Pending, run_to_end
from pef_explorer.machines.plain import plain
from pef_explorer.machines.wire import Wire
from pef_kit.core.effects import Backoff, Offload, Operation, PeerCall, PeerFailure, Transfer
from pef_kit.core.life import Life, OtherIncarnation
from pef_protocol.calls import Reply
from pef_protocol.codes import HCode, UCode
from pef_protocol.events import Side
from pef_protocol.hypercalls import SvmInitStart
from pef_protocol.identity import Epoch, InstanceId
from pef_protocol.quantities import Lpid

EPOCH = Epoch(InstanceId("0" * 32), 1)
START = PeerCall("H_SVM_INIT_START", SvmInitStart(Lpid(1)), lives=(Life("an epoch", epoch=EPOCH),))


class Scripted(Wire):
    """A wire on which somebody else's operations answer; it remembers what it carried."""

    def __init__(self, answer: Callable[[], Operation[Reply]]) -> None:
        super().__init__()
        for side in Side:
            self.begin_epoch(side, EPOCH)
        self.answer = answer
        self.asked: list[str] = []
        self.moved: list[Transfer] = []

    def handler(self, ask: PeerCall) -> Operation[Reply]:
        self.asked.append(ask.name)
        return self.answer()

    def carry_out(self, side: Side, transfer: Transfer) -> None:
        self.moved.append(transfer)


def at_once() -> Operation[Reply]:
    yield from ()
    return Reply(HCode.H_SUCCESS)


def after_work() -> Operation[Reply]:
    done = yield Offload(lambda: 7)
    assert done == 7
    return Reply(HCode.H_BUSY)


def asking() -> Operation[str]:
    try:
        reply = yield START
    except PeerFailure as failure:
        return failure.reason
    return str(reply.code.name)


def test_a_call_stops_at_each_thing_that_it_needs() -> None:
    wire = Scripted(after_work)

    def all_kinds() -> Operation[str]:
        yield Backoff(0)
        yield Transfer((), lambda *_: None, writes=True)
        return (yield from asking())

    call, seen = OpenCall(all_kinds(), wire), []
    while call.pending is not Pending.ENDED:
        seen.append((call.described(), call.depth))
        call.go_on()
    assert seen == [
        ("waits", 1),
        ("moves pages", 1),
        ("asks H_SVM_INIT_START", 1),
        ("works", 2),
        ("answers H_BUSY", 1),
    ]
    assert (call.outcome, len(wire.moved), wire.asked) == ("H_BUSY", 1, ["H_SVM_INIT_START"])


@pytest.mark.parametrize(
    ("fault", "reported", "outcome", "deliveries"),
    [
        (None, "answers H_SUCCESS", "H_SUCCESS", 1),
        (Fault.REFUSED, "answers H_PARAMETER", "H_PARAMETER", 0),
        (Fault.BUSY, "answers H_BUSY", "H_BUSY", 0),
        (Fault.DOUBLED, "answers H_SUCCESS", "H_SUCCESS", 2),
        (Fault.LOST, "answers nothing", "no answer", 0),
    ],
)
def test_what_befalls_a_request(fault: Fault | None, reported: str, outcome: str, deliveries: int) -> None:
    wire = Scripted(at_once)
    call = OpenCall(asking(), wire)
    assert call.asked == START
    call.go_on(fault)
    assert (call.described(), call.pending.name, call.asked is None) == (reported, "REPLY", True)
    assert len(wire.asked) == deliveries
    assert run_to_end(call) == outcome


def waiting_for_ever() -> Operation[Reply]:
    attempt = 0
    while True:
        yield Backoff(attempt)
        attempt += 1


def test_a_doubled_request_whose_first_copy_waits_for_others_is_gone_on_with() -> None:
    """Nobody else has a turn while the first copy acts: it is given up, and the second one waits as any."""
    call = OpenCall(asking(), Scripted(waiting_for_ever))
    call.go_on(Fault.DOUBLED)
    assert (call.described(), call.depth) == ("waits", 2)


def refused_at_once() -> Operation[Reply]:
    raise OtherIncarnation("that SVM is no more")


def refused_at_its_first_step() -> Operation[Reply]:
    yield from ()
    raise OtherIncarnation("that SVM is no more")


@pytest.mark.parametrize("answer", [refused_at_once, refused_at_its_first_step])
def test_a_message_for_an_svm_that_is_no_more_is_refused_and_nothing_was_done(
    answer: Callable[[], Operation[Reply]],
) -> None:
    def asks() -> Operation[bool | None]:
        try:
            yield START
        except PeerFailure as failure:
            return failure.done
        return None

    call = OpenCall(asks(), Scripted(answer))
    call.go_on()
    assert (call.described(), call.depth) == ("answers nothing", 1)
    assert run_to_end(call) is False


def test_what_an_operation_raises_is_its_outcome_but_not_where_it_is_nested() -> None:
    def raises() -> Operation[Any]:
        yield Backoff(0)
        raise KeyError("mine")

    call = OpenCall(raises(), Scripted(at_once))
    assert isinstance(run_to_end(call), KeyError)
    nested = OpenCall(asking(), Scripted(raises))
    nested.go_on()
    with pytest.raises(KeyError, match="mine"):
        nested.go_on()


def test_a_call_that_is_given_up_closes_all_that_is_nested_in_it_from_within() -> None:
    closed: list[str] = []

    def answering() -> Operation[Reply]:
        try:
            yield Backoff(0)
        finally:
            closed.append("answering")
        return Reply(HCode.H_SUCCESS)

    def outer() -> Operation[str]:
        try:
            return (yield from asking())
        finally:
            closed.append("asking")

    call = OpenCall(outer(), Scripted(answering))
    call.go_on()
    call.close()
    assert closed == ["answering", "asking"]


def trying(limit: int) -> Operation[int]:
    """Try again and again: the count tells nothing of the state, `found` does."""
    found = 0
    for attempt in range(limit):
        yield Backoff(attempt)
        if attempt == 3:
            found = 1
    return found


def test_a_round_that_was_in_vain_leads_back_to_the_same_place() -> None:
    call = OpenCall(trying(6), Scripted(at_once))
    trails = []
    while call.pending is Pending.PAUSE:
        trails.append(call.trail)
        call.go_on()
    assert trails[0] == trails[1] == trails[2] == trails[3]
    assert trails[4] == trails[5] != trails[3]


def test_replies_count_into_the_place() -> None:
    calls = [OpenCall(asking(), Scripted(at_once)) for _ in range(3)]
    assert len({call.trail for call in calls}) == 1
    for call, fault in zip(calls, (None, Fault.BUSY, Fault.LOST), strict=True):
        call.go_on(fault)
    assert len({call.trail for call in calls}) == 3


@pytest.mark.parametrize(
    ("value", "stands_for_it"),
    [
        (UCode.U_BUSY, "U_BUSY"),
        (None, None),
        (True, True),
        (b"ab", b"ab"),
        (np.int64(4), 4),
        (np.array([1, 2], np.uint8), b"\1\2"),
        ([1, (np.uint8(2), "a")], (1, (2, "a"))),
        (SvmInitStart(Lpid(3)), (3,)),
        (object(), "object"),
    ],
)
def test_locals_are_told_apart_by_plain_values(value: object, stands_for_it: object) -> None:
    assert plain(value) == stands_for_it
    assert isinstance(hash(plain(value)), int)
