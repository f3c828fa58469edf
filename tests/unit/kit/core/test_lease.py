"""A lease: what an operation may still do once the life that it acts for is over."""

from dataclasses import fields
from itertools import count
from typing import Any

import pytest

from pef_kit.core.effects import Backoff, Offload, Operation, PeerCall, Transfer
from pef_kit.core.lease import Ended, Life, leased
from pef_protocol.calls import Reply
from pef_protocol.codes import HCode, UCode
from pef_protocol.identity import Incarnation, InstanceId

SECOND = Incarnation(InstanceId("0" * 32), 2)


def test_an_operation_whose_life_lasts_goes_on_as_without_a_lease() -> None:
    def adds() -> Operation[int]:
        first: int = yield Offload(lambda: 1)
        return first + int((yield Backoff(0)))

    operation = leased(adds(), Life("a VM"))
    assert isinstance(next(operation), Offload)
    assert isinstance(operation.send(1), Backoff)
    with pytest.raises(StopIteration) as end:
        operation.send(2)
    assert end.value.value == 3


def test_a_life_that_ends_while_an_effect_is_outstanding_ends_the_operation() -> None:
    marks = ["on"]

    def waits() -> Operation[None]:
        try:
            yield Backoff(0)
            marks.append("acted")
        finally:
            marks.append("off")

    life = Life("a VM")
    operation = leased(waits(), life)
    next(operation)
    life.end()
    with pytest.raises(Ended, match="a VM has ended"):
        operation.send(True)
    assert marks == ["on", "off"]


def test_an_operation_that_was_told_that_its_life_is_over_begins_nothing_more() -> None:
    def insists() -> Operation[str]:
        try:
            yield Backoff(0)
        except Ended:
            yield PeerCall("UV_PAGE_OUT", None)
        return "asked"

    life = Life("a VM")
    operation = leased(insists(), life)
    next(operation)
    life.end()
    with pytest.raises(Ended):
        operation.send(True)


def test_an_operation_may_end_with_an_answer_of_its_own_when_its_life_is_over() -> None:
    def answers() -> Operation[str]:
        try:
            yield Backoff(0)
        except Ended:
            return "ended"
        return "done"

    life = Life("a VM")
    operation = leased(answers(), life)
    next(operation)
    life.end()
    with pytest.raises(StopIteration) as end:
        operation.send(True)
    assert end.value.value == "ended"


def test_an_operation_whose_life_is_over_before_it_begins_does_nothing() -> None:
    begun: list[str] = []

    def begins() -> Operation[None]:
        begun.append("begun")
        yield Backoff(0)

    life = Life("a VM", alive=False)
    with pytest.raises(Ended):
        next(leased(begins(), life))
    assert not begun


def test_bytes_that_move_are_counted_from_the_effect_to_its_answer() -> None:
    moved: list[int] = []
    transfer = Transfer([(0, 1)], lambda index, _, __: moved.append(index), writes=True)

    def moves() -> Operation[None]:
        yield transfer
        yield Backoff(0)

    life = Life("an SVM")
    operation = leased(moves(), life)
    effect = next(operation)
    assert isinstance(effect, Transfer)
    assert life.moving == 1
    effect.each(0, 0, memoryview(b"x"))
    life.end()
    with pytest.raises(Ended):
        effect.each(1, 0, memoryview(b"x"))
    assert moved == [0]
    with pytest.raises(Ended):
        operation.send(None)
    assert life.moving == 0


def test_an_operation_that_is_given_up_moves_nothing_any_more() -> None:
    def moves() -> Operation[None]:
        yield Offload(lambda: None)

    life = Life("an SVM")
    operation = leased(moves(), life)
    next(operation)
    operation.close()
    assert life.moving == 0


def test_a_call_names_the_incarnation_of_the_innermost_life() -> None:
    def asks() -> Operation[None]:
        yield PeerCall("H_SVM_PAGE_OUT", None)

    inner = Life("the victim", SECOND)
    outer = Life("the SVM", Incarnation(InstanceId("0" * 32), 1))
    effect = next(leased(leased(asks(), inner), outer))
    assert isinstance(effect, PeerCall)
    assert effect.incarnation == SECOND


FIELDS: dict[type[PeerCall] | type[Transfer], dict[str, Any]] = {
    PeerCall: {"name": "H_SVM_PAGE_OUT", "request": object(), "incarnation": SECOND, "ignore_deadline": True},
    Transfer: {
        "pieces": ((1 << 32, 8),),
        "each": lambda *_: None,
        "writes": True,
        "zeroes": True,
        "dense": True,
    },
}
"""Values of all fields but `lives` of the effects that a lease changes: none is a default."""


@pytest.mark.parametrize("kind", FIELDS)
def test_a_lease_adds_its_lives_to_an_effect_and_changes_nothing_else(kind: type[Any]) -> None:
    given, life, victim = FIELDS[kind], Life("the SVM"), Life("the victim")
    assert given.keys() | {"lives"} == {each.name for each in fields(kind)}

    def yields() -> Operation[None]:
        yield kind(**given, lives=(victim,))

    effect = next(leased(yields(), life))
    assert type(effect) is kind
    assert getattr(effect, "lives") == (victim, life)  # noqa: B009 - of either kind
    assert {name: getattr(effect, name) for name in given if name != "each"} == {
        name: value for name, value in given.items() if name != "each"
    }


def test_each_of_several_lives_ends_the_operation() -> None:
    def waits() -> Operation[None]:
        yield Backoff(0)

    epoch, vm = Life("the epoch"), Life("a VM")
    operation = leased(waits(), epoch, vm)
    next(operation)
    epoch.end()
    with pytest.raises(Ended) as ended:
        operation.send(True)
    assert ended.value.life is epoch


def test_an_ending_operation_makes_no_further_try_and_no_further_call() -> None:
    def asks_until_done() -> Operation[list[object]]:
        seen: list[object] = [(yield PeerCall("UV_PAGE_IN", None)).code]
        for attempt in count():
            if not (yield Backoff(attempt, ignore_deadline=True)):
                return [*seen, (yield PeerCall("H_SVM_PAGE_OUT", None)).code]
        return []

    life = Life("a turn")
    operation = leased(asks_until_done(), life)
    next(operation)
    life.ending = True
    with pytest.raises(StopIteration) as end:
        operation.send(Reply(UCode.U_SUCCESS))
    assert end.value.value == [UCode.U_SUCCESS, HCode.H_BUSY]


def test_an_ending_operation_still_moves_bytes_that_it_must() -> None:
    life = Life("a turn")
    life.ending = True
    operation = leased(works(), life)
    assert isinstance(next(operation), Offload)


def works() -> Operation[int]:
    """Do one piece of work."""
    done: int = yield Offload(lambda: 1)
    return done
