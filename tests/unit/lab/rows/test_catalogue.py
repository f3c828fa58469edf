"""Rows have unique ids, by which they are chosen."""

import pytest

from harness.fake_subject import fine, row
from pef_lab.rows.catalogue import SameId, chosen, unique


def test_ids_are_unique_and_are_chosen_by_patterns() -> None:
    rows = (row("one"), row("two"), row("three"))
    assert unique(rows) == rows
    with pytest.raises(SameId, match="uv/fake/one"):
        unique([*rows, row("one", fine)])
    assert chosen(rows, ()) == rows
    assert chosen(rows, ("*/t*", "uv/fake/two")) == rows[1:]
