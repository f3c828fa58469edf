"""The search for the mutants: the proof that the explorer can see.

    PYTHONPATH=tests python -m mutants.search --keep docs/counterexamples/mutants [ID...]

Each mutant is put into `tracked`, which is sound without it, and explored in ever larger systems, without
faults on the wire and then with one, until an invariant is violated. The shortest way there is kept as a
counterexample; the same moves on sound code, under the same trigger, must break nothing.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, NamedTuple

from pef_explorer.plan import IMAGES, Delivery, Extra, Plan
from pef_explorer.search.counterexample import comes_again, counterexample
from pef_explorer.search.search import Progress, Search
from pef_lab.version import commit
from pef_mutants.blind_spots import SEARCHED
from pef_protocol.designs import Design

LIMIT: Final = 60_000
"""Transitions of one search."""
REFUSING: Final = frozenset({"what_is_asked_succeeds", "an_error_changes_neither_side"})
"""What is violated by a trigger alone: a Hypervisor that refuses keeps the guest from what it wants."""


class Searched(NamedTuple):
    """A mutant that was found, or not: `content` is its counterexample."""

    mutant: str
    invariant: str
    length: int
    faults: int
    transitions: int
    seconds: float
    content: dict[str, Any] | None


def plans(*, triggered: bool) -> Iterator[Plan]:
    """Yield the systems in which a mutant is looked for, the smallest first; then one call at a time."""
    ignored = REFUSING if triggered else frozenset[str]()
    for pages, plug, faults in ((1, 0, 0), (1, 0, 1), (1, 1, 1), (2, 1, 0), (2, 1, 1)):
        for image in IMAGES[pages]:
            yield Plan(
                Design.TRACKED,
                image,
                plug,
                faults=faults,
                ignored=ignored,
                delivery=Delivery.UNRELIABLE,
            )
    for image in IMAGES[1]:
        yield Plan(Design.TRACKED, image, calls=1, faults=1, ignored=ignored)


SWITCHED_ON: Final = {
    "older-taken": (Extra.OLD_CIPHERTEXT, 0),
    "other-taken": (Extra.OLD_CIPHERTEXT, 1),
    "range-cut": (Extra.RANGE, 1),
    "measured-gone": (Extra.MEASURED_PLUG, 1),
}
"""What lets a mutant be seen at all, and how many GFNs can be plugged then."""


def plans_of(name: str) -> Iterator[Plan]:
    """Yield the systems in which a mutant is looked for."""
    if name not in SWITCHED_ON:
        yield from plans(triggered=name in TRIGGERED)
        return
    extra, plug = SWITCHED_ON[name]
    for calls in (1, 2):
        for image in IMAGES[1]:
            yield Plan(Design.TRACKED, image, plug, calls=calls, extras=frozenset({extra}))


def search(name: str, systems: Iterable[Plan] = ()) -> Searched:
    """Look for one mutant until an invariant is violated that is not violated without it.

    `systems`: where to look, in this order; none: in all of `plans_of`.
    """
    mutant, began, transitions = SEARCHED[name], time.perf_counter(), 0
    from_test = mutant.triggered
    for plan in systems or plans_of(name):
        with ExitStack() as mutated:
            mutated.enter_context(from_test())
            mutated.enter_context(mutant.applied())
            looking = Search(plan)
            looking.go_on(lambda progress, search=looking: _enough(search, progress))  # type: ignore[misc]
            found = looking.found()
            transitions += found.transitions
        for violation in found.violations:
            with from_test():
                sound = not comes_again(plan, violation)
            if sound:
                with from_test(), mutant.applied():
                    content = counterexample(
                        plan, violation, f"python -m mutants.search {name}", commit(), name
                    )
                seconds = time.perf_counter() - began
                length = content["violated_after"]
                return Searched(name, violation.invariant, length, plan.faults, transitions, seconds, content)
    return Searched(name, "", 0, 0, transitions, time.perf_counter() - began, None)


TRIGGERED: Final = frozenset({"D8", "D11"})
"""Those whose trigger refuses what the guest asks for."""


def _enough(search: Search, progress: Progress) -> bool:
    nearest = search.nearest_violation
    return progress.transitions > LIMIT or (nearest is not None and progress.depth > nearest)


def main(arguments: Sequence[str]) -> int:
    """Search, and print what is found; fail where a mutant was not found."""
    parser = argparse.ArgumentParser(prog="mutants.search")
    parser.add_argument("mutants", nargs="*", metavar="ID")
    parser.add_argument("--keep", type=Path, metavar="DIR")
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args(arguments)
    names = asked.mutants or list(SEARCHED)
    missed = 0
    with get_context("fork").Pool(asked.processes) as pool:
        for searched in pool.imap(search, names):
            _tell(searched, asked.keep)
            missed += searched.content is None
    return int(missed > 0)


def _tell(searched: Searched, keep: Path | None) -> None:
    reported = f"{searched.invariant} after {searched.length} steps" if searched.content else "not found"
    cost = f"{searched.transitions} transitions, {searched.seconds:.0f} s"
    print(f"{searched.mutant:4} {reported}, {searched.faults} faults ({cost})", flush=True)  # noqa: T201
    if keep is not None and searched.content is not None:
        keep.mkdir(parents=True, exist_ok=True)
        file = keep / f"{searched.mutant}.json"
        file.write_text(json.dumps(searched.content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
