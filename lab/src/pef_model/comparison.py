"""The comparison: what each of the two tools has seen of a model at rest, and what only one of them has."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pef_explorer.engines import Engine
from pef_explorer.plan import Plan
from pef_model.explored import JUDGED_BY_NOBODY, explored
from pef_model.rest_state import Seen
from pef_model.tables import Model


@dataclass(frozen=True, slots=True)
class Row:
    """One model: what SPIN and the explorer saw of it."""

    model: Model
    spin: Seen
    explorer: Seen

    @property
    def equal(self) -> int:
        """Count the states at rest that both have."""
        return len(self.spin.states & self.explorer.states)

    @property
    def equal_steps(self) -> int:
        """Count the steps between them that both have."""
        return len(self.spin.steps & self.explorer.steps)

    @property
    def differences(self) -> list[str]:
        """Return a line for each state, and each step, that only one tool has."""
        sides = (("SPIN", self.spin, self.explorer), ("the explorer", self.explorer, self.spin))
        return [
            *(
                f"only {tool} reaches {state}"
                for tool, mine, others in sides
                for state in sorted(mine.states - others.states)
            ),
            *(
                f"only {tool} comes from {one} to {other}"
                for tool, mine, others in sides
                for one, other in sorted(mine.steps - others.steps)
            ),
        ]


def compared(
    models: Sequence[Model],
    reached: Sequence[Seen],
    engine: Engine,
    report: Callable[[Row], None],
) -> list[Row]:
    """Have the explorer search each model, and return a row for each; `report` gets them one by one.

    `reached`: what SPIN saw of each.
    """
    rows: list[Row] = []
    for row in _rows(models, reached, engine):
        report(row)
        rows.append(row)
    return rows


def _rows(models: Sequence[Model], reached: Sequence[Seen], engine: Engine) -> Iterator[Row]:
    seen = engine.map(explored, map(plan_of, models))
    for model, spin, explorer in zip(models, reached, seen, strict=True):
        yield Row(model, spin, explorer)


def plan_of(model: Model) -> Plan:
    """Return the same system for the explorer: one GFN, two calls at a time, no slot to plug."""
    return Plan(model.row.name, (model.part,), plug=0, vcpus=model.vcpus, ignored=JUDGED_BY_NOBODY)
