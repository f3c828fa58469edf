"""A difference is a state at rest that only one of the two tools has."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pef_explorer.engines import InProcess
from pef_explorer.plan import Part, Plan
from pef_model.comparison import Row, compared, plan_of
from pef_model.explored import JUDGED_BY_NOBODY
from pef_model.rest_state import RestState, Seen
from pef_model.tables import Model
from pef_protocol.designs import Design

TRACKED = Model.of(Design.TRACKED, Part.BROUGHT)
ONE, TWO, THREE = (RestState(*[number] * 20) for number in (1, 2, 3))


def seen(one: RestState, other: RestState) -> Seen:
    """Return two states at rest, and a step from the one to the other."""
    return Seen(frozenset({one, other}), frozenset({(one, other)}))


class TwoAndThree(InProcess):
    """An explorer that sees the same of each plan: a step from TWO to THREE."""

    def map(self, work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        return (seen(TWO, THREE) for _ in items)


def test_what_only_one_tool_has_is_a_difference() -> None:
    row = Row(TRACKED, seen(ONE, TWO), seen(TWO, THREE))
    assert (row.equal, row.equal_steps) == (1, 0)
    assert row.differences == [
        f"only SPIN reaches {ONE}",
        f"only the explorer reaches {THREE}",
        f"only SPIN comes from {ONE} to {TWO}",
        f"only the explorer comes from {TWO} to {THREE}",
    ]


def test_two_that_saw_the_same_differ_nowhere() -> None:
    row = Row(TRACKED, seen(ONE, TWO), seen(ONE, TWO))
    assert (row.equal, row.equal_steps, row.differences) == (2, 1, [])


def test_each_model_has_a_row() -> None:
    reported: list[Row] = []
    models = [TRACKED, Model.of(Design.EAGER, Part.SHARED)]
    with TwoAndThree() as engine:
        rows = compared(models, [seen(THREE, TWO), seen(TWO, THREE)], engine, reported.append)
    assert rows == reported
    assert [(row.model, row.equal, len(row.differences)) for row in rows] == [
        (models[0], 2, 2),
        (models[1], 2, 0),
    ]


def test_the_explorer_searches_one_gfn_and_judges_nothing() -> None:
    assert plan_of(TRACKED) == Plan(Design.TRACKED, (Part.BROUGHT,), plug=0, ignored=JUDGED_BY_NOBODY)
