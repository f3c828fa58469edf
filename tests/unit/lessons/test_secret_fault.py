"""The fault of a student: the same each time, another one for others, and one that rows of a pair show."""

from collections import Counter

import pytest

from conformance.explained import SURVIVORS
from pef_lab.rows.catalogue import rows_of
from pef_lab.rows.subject import Subject
from pef_lessons.secret_fault import BY_ID, POOL, SEED_FROM, fault_of, names_the_check, row_of


@pytest.fixture(autouse=True)
def no_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SEED_FROM, raising=False)


def test_capitals_and_spaces_of_a_name_do_not_matter() -> None:
    assert fault_of("Ada Lovelace") is fault_of("  ada   LOVELACE ")


def test_names_spread_over_the_pool() -> None:
    counts = Counter(fault_of(f"student {number}").id for number in range(400))
    assert len(counts) == len(POOL)
    assert max(counts.values()) < 400 * 3 / len(POOL)


def test_another_seed_gives_other_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"student {number}" for number in range(40)]
    before = [fault_of(name) for name in names]
    monkeypatch.setenv(SEED_FROM, "next term")
    after = [fault_of(name) for name in names]
    assert sum(first is second for first, second in zip(before, after, strict=True)) < len(names) / 2
    assert [fault_of(name, "") for name in names] == before


@pytest.mark.parametrize("check", POOL)
def test_a_row_of_the_pair_names_each_fault_and_no_other_one(check: str) -> None:
    fault, row = BY_ID[f"forgets/{check}"], POOL[check]
    assert fault.id not in SURVIVORS
    assert [each.id for each in rows_of(Subject.PAIR) if each.id == row and Subject.PAIR in each.of] == [row]
    assert row_of(fault) == row
    assert [name for name in POOL if names_the_check(row, BY_ID[f"forgets/{name}"])] == [check]


def test_a_row_about_an_order_names_no_check() -> None:
    fault = BY_ID["forgets/UV_PAGE_IN/order"]
    assert fault.concerns("uv/page-in/order/order<flags")
    assert not names_the_check("uv/page-in/order/order<flags", fault)
    assert names_the_check("uv/page-in/order:4 KiB", fault)
