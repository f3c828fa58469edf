"""The words for what a page holds."""

import pytest

from pef_lab.replay.words import EITHER, Words, agrees


def test_words_tell_who_wrote_last() -> None:
    words = Words()
    first = words.new_token(0)
    words.wrote(0, first)
    second = words.new_token(0)
    assert [words.of(0, seen) for seen in (first, second, bytes(8), b"12345678")] == [
        *("as written", "as written", "zero", "other")
    ]
    words.wrote(0, second)
    assert [words.of(0, seen) for seen in (first, second)] == ["other", "as written"]
    assert words.of(1, second) == "other"
    words.doubt([0])
    assert [words.of(0, seen) for seen in (first, second)] == ["other", EITHER]
    third = words.new_token(0)
    words.gave_up(0, third)
    assert words.of(0, third) == EITHER
    words.wrote(0, words.new_token(0))
    assert words.of(0, second) == "other"


@pytest.mark.parametrize(
    ("said", "seen", "same"),
    [
        ("ends zero", "ends zero", True),
        ("ends zero", f"ends {EITHER}", False),
        ("as written", EITHER, True),
        ("ends other", f"ends {EITHER}", True),
        ("ends other", "ends as written", False),
        ("ends refused", "ends EFAULT", True),
        ("ends OK", "ends EBUSY", False),
        ("ends refused", "ends zero", False),
        ("waits", "ends OK", False),
    ],
)
def test_what_agrees(said: str, seen: str, same: bool) -> None:
    assert agrees(said, seen) is same
