"""Numbers of messages, where a go-between answers some itself."""

import pytest

from pef_lab.between.numbers import Numbers

pytestmark = pytest.mark.sockets


def test_calls_that_a_go_between_answers_itself_leave_no_gap_in_the_numbers() -> None:
    numbers = Numbers()

    def sent(slot: str) -> str:
        return numbers.of({"PEF-Slot": slot, "other": "kept"})["pef-slot"]

    assert [sent(f"s.1.0.{number}") for number in (1, 3, 3, 4)] == [
        "s.1.0.1",
        "s.1.0.2",
        "s.1.0.2",
        "s.1.0.3",
    ]
    assert sent("s.1.0.1") == "s.1.0.1"
    assert sent("s.1.1.7") == "s.1.1.7"
    assert numbers.of({"pef-slot": "nonsense"}) == {"pef-slot": "nonsense"}
    assert numbers.of({"other": "kept"}) == {"other": "kept"}


def test_a_number_that_left_a_gap_is_lowered_and_those_after_it_follow() -> None:
    numbers = Numbers()
    third = {"pef-slot": "s.1.0.3"}
    assert numbers.of(third) == third
    assert numbers.lower(third) == {"pef-slot": "s.1.0.2"}
    assert numbers.lower(third) == {"pef-slot": "s.1.0.1"}
    assert numbers.lower(third) is None
    assert numbers.of({"pef-slot": "s.1.0.4"}) == {"pef-slot": "s.1.0.2"}
    assert numbers.lower({"other": "kept"}) is None
