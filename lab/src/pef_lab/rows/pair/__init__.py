"""The rows of a pair: what both sides must agree on, whoever made them."""

from collections.abc import Iterator

from pef_lab.rows.pair import steps
from pef_lab.rows.row import Row


def rows() -> Iterator[Row]:
    """Yield the rows that take both sides."""
    yield from steps.rows()
