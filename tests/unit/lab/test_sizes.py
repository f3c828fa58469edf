"""Sizes as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pef_lab.failures import WrongInput
from pef_lab.sizes import LARGEST, counted, parse_size, show_seconds, show_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4096", 4096),
        ("1B", 1),
        ("64KiB", 64 << 10),
        ("64 mib", 64 << 20),
        ("1.5GiB", 3 << 29),
        (" 100GiB ", 100 << 30),
        ("64TiB", 64 << 40),
    ],
)
def test_a_size_is_a_number_and_a_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "GiB", "-1GiB", "1e3", "64MB", "64Mi", "0", "0.1B", "65TiB", "1 GiB x", "٣MiB", "1" * 30]
)
def test_what_is_no_size_is_refused_in_one_line_that_names_the_option(text: str) -> None:
    with pytest.raises(WrongInput) as refusal:
        parse_size(text, "--size")
    assert str(refusal.value).startswith("--size: ")
    assert "\n" not in str(refusal.value)


@given(st.integers(1, LARGEST))
def test_a_plain_number_is_that_many_bytes(size: int) -> None:
    assert parse_size(str(size)) == size


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 B"), (1023, "1023 B"), (65536, "64 KiB"), (3 << 29, "1.5 GiB"), (1 << 40, "1 TiB")],
)
def test_a_size_is_shown_in_its_largest_unit(size: int, words: str) -> None:
    assert show_size(size) == words


def test_times_and_counts_are_words() -> None:
    assert [show_seconds(0.00912), show_seconds(12.345)] == ["9.12 ms", "12.3 s"]
    assert [counted(1, "page"), counted(1234, "page")] == ["1 page", "1,234 pages"]
