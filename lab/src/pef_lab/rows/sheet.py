"""A call's sheet: how it is made well, and how each rung of its ladder is made to refuse it; and its rows.

A message is described by *aspects*: its caller, its VM, each argument. `well` names a value for every aspect;
a way to be wrong replaces some. Two rungs are wrong at once where their ways replace different aspects. From
this all rungs and all ordered pairs follow, and a rung that nobody can make wrong does not import.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations, product
from typing import Any, Final, TypeAlias

from pef_lab.rows.doors import Answer
from pef_lab.rows.row import Finding, Kind, Row
from pef_lab.rows.stage import Scene, Stage
from pef_lab.rows.subject import Subject
from pef_protocol.calls import Call
from pef_protocol.check_orders import Check
from pef_protocol.codes import HCode, UCode

Aspects: TypeAlias = Mapping[str, Any]
Make: TypeAlias = Callable[[Stage, Any, Aspects], Awaitable[Answer]]
"""Makes the call that aspects describe, in a scene, and returns its answer."""
Ready: TypeAlias = Callable[[Any, Aspects], Awaitable[None]]
"""Has in a scene whatever the call of these aspects needs, before anybody looks."""
THE_ONE_WAY: Final = ""
DONE: Final = frozenset({UCode.U_SUCCESS.name, HCode.H_SUCCESS.name})
"""Codes by which a call did something, whether that can be seen or not."""


async def nothing_more(_: Any, __: Aspects) -> None:
    """Have nothing there but the scene."""


class IncompleteSheet(ValueError):
    """The ways to be wrong are not those of the ladder's rungs."""


@dataclass(frozen=True, slots=True)
class Unmade:
    """A pair of rungs that has no row, and why."""

    call: str
    first: str
    second: str
    reason: str


@dataclass(frozen=True)
class Sheet:
    """How a call is made well and wrong. `wrong` has, by rung and way, the aspects that are replaced.

    `subjects` tells on which subjects a message of these aspects can be made.
    """

    call: Call
    scene: type[Scene]
    well: Aspects
    wrong: Mapping[str, Mapping[str, Aspects]]
    make: Make = field(repr=False)
    subjects: Callable[[Aspects], frozenset[Subject]] = field(repr=False)
    ready: Ready = field(default=nothing_more, repr=False)

    def __post_init__(self) -> None:
        if (wanted := {rung.name for rung in self.call.check_order}) != set(self.wrong):
            odd = ", ".join(sorted(wanted ^ set(self.wrong)))
            raise IncompleteSheet(f"{self.call.name}: rungs without a way to be wrong, or unknown: {odd}")
        ways = [aspects for by_way in self.wrong.values() for aspects in by_way.values()]
        if unknown := {name for aspects in ways for name in aspects} - set(self.well):
            raise IncompleteSheet(f"{self.call.name}: unknown aspects: {', '.join(sorted(unknown))}")

    @property
    def path(self) -> str:
        """Return how ids of this call begin: `uv/page-in`."""
        side, _, rest = self.call.name.removeprefix("H_SVM_").rpartition("UV_")
        prefix = "uv" if self.call.is_ultracall else "hv"
        return f"{prefix}/{(side + rest).lower().replace('_', '-')}"

    def rows(self) -> Iterator[Row]:
        """Yield the rows of all rungs, and of all pairs of rungs that can be told apart."""
        for rung in self.call.check_order:
            for way, aspects in self.wrong[rung.name].items():
                name = f"{rung.name}:{way}" if way != THE_ONE_WAY else rung.name
                clause = f"{self.call.name} refuses {rung.refuses}"
                yield self._row(f"{self.path}/{name}", Kind.RUNG, clause, rung, aspects)
        for first, second in combinations(self.call.check_order, 2):
            both = self._both(first, second)
            if first.code is not second.code and both is not None:
                clause = f"{self.call.name} looks for {first.refuses} before {second.refuses}"
                place = f"{self.path}/order/{first.name}<{second.name}"
                yield self._row(place, Kind.PAIR, clause, first, both)

    def unmade(self) -> Iterator[Unmade]:
        """Yield the pairs of rungs that have no row."""
        for first, second in combinations(self.call.check_order, 2):
            if first.code is second.code:
                yield Unmade(self.call.name, first.name, second.name, f"both answer {first.code.name}")
            elif self._both(first, second) is None:
                yield Unmade(self.call.name, first.name, second.name, "no message is wrong in both ways")

    def _both(self, first: Check, second: Check) -> Aspects | None:
        """Return aspects in which both rungs are wrong, or None; ways that need nothing played come first."""
        ways = product(self.wrong[first.name].values(), self.wrong[second.name].values())
        joined = [{**one, **other} for one, other in ways if agree(one, other)]
        return max(joined, key=lambda both: len(self.subjects({**self.well, **both})), default=None)

    def _row(self, place: str, kind: Kind, clause: str, rung: Check, wrong: Aspects) -> Row:
        aspects = {**self.well, **wrong}

        async def play(stage: Stage) -> Finding:
            await self.ready(await stage.scene(self.scene), aspects)
            return await refused(
                stage, self.scene, lambda scene: self.make(stage, scene, aspects), rung.code.name
            )

        return Row(place, kind, self.call.name, clause, self.subjects(aspects), play)


def agree(one: Aspects, other: Aspects) -> bool:
    """Tell whether two ways to be wrong can be had at once: no aspect is to have two values."""
    return all(one[name] == other[name] for name in one.keys() & other.keys())


async def refused(
    stage: Stage, kind: type[Scene], make: Callable[[Any], Awaitable[Answer]], code: str
) -> Finding:
    """Make a call that must be refused with `code` and change nothing; look before and after."""
    scene = await stage.scene(kind)
    before = await stage.look(scene)
    answer = await make(scene)
    after = await stage.look(scene)
    changed = after != before
    if changed or answer.code in DONE:
        await stage.spend(kind)
    observed = answer.code + (", and something changed" if changed else "")
    return Finding(f"{code}, nothing changes", observed, observed == code, before.evidence)
