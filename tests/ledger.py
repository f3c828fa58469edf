"""Write down what is proved today, and compare two such ledgers: nothing may be lost when names change.

    PYTHONPATH=tests python -m ledger LEDGER.json [--only SECTION]...
    PYTHONPATH=tests python -m ledger --compare OLD.json NEW.json [--renames RENAMES.json]

A ledger is a JSON object: a section maps the name of each fact to what is known of it, a text or a number.
The sections `mutants`, `explorer`, `interleavings` and `crash` come from runs of several minutes each, the
others from tables and files. RENAMES.json maps old words to new ones: whole words of the old ledger
are replaced. A fact is lost if its name is gone, if its number is smaller, or if its text is another.
Ends with 1 if a fact is lost.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from conformance.explained import EMPTY, SURVIVORS
from conformance.grid import fits
from conformance.judging import trials
from conformance.matrix import hold
from crash import kills
from crash import matrix as crash
from crash.http_operations import HTTP_OPERATIONS
from crash.operations import OPERATIONS as CRASH_OPERATIONS
from interleavings.matrix import run_all
from pef_explorer.engines import Processes, processors
from pef_explorer.invariants import INVARIANTS as JOINT
from pef_explorer.search.exploration import Bounds, explore
from pef_hypervisor.designs import DESIGNS
from pef_hypervisor.gfn.table import VM_TABLE
from pef_hypervisor.invariants import INVARIANTS as HYPERVISORS
from pef_kit.core.table import Table
from pef_lab.hostile.catalogue import ATTACKS, NOT_TRIED
from pef_lab.rows.catalogue import all_rows
from pef_mutants.all_mutants import ALL_MUTANTS
from pef_mutants.registry import MUTANTS
from pef_protocol.calls import CALLS
from pef_protocol.designs import Design
from pef_ultravisor.gfn.table import GFN

Fact: TypeAlias = str | int
Section: TypeAlias = Mapping[str, Fact]
REPOSITORY: Final = Path(__file__).parents[1]
COUNTEREXAMPLES: Final = ("docs/counterexamples", "tests/scenarios/counterexamples")


# What the tables and files say


def checks() -> Iterator[tuple[str, Fact]]:
    """Yield each check of each call at its place in the check order."""
    for call in CALLS.values():
        for place, check in enumerate(call.check_order, 1):
            scope = "each run" if check.per_run else "message"
            yield f"{call.name} {place:02} {check.name}", f"{check.code.name}, {scope}: {check.refuses}"


def cells() -> Iterator[tuple[str, Fact]]:
    """Yield each cell of each transition table, the Hypervisor's once for each design."""
    tables: dict[str, Table[Any, Any, Any]] = {"ultravisor gfn": GFN, "hypervisor vm": VM_TABLE}
    tables |= {f"hypervisor gfn {name}": row.table for name, row in DESIGNS.items()}
    for name, table in tables.items():
        for event, state, cell in table:
            yield (
                f"{name} {event.name} {state.name}",
                f"{cell.code.name}, {cell.action.name}, {cell.next_state.name}",
            )


def rows() -> Iterator[tuple[str, Fact]]:
    """Yield each conformance row."""
    for row in all_rows():
        yield row.id, f"{row.level.value}, {', '.join(sorted(row.of))}"


def attacks() -> Iterator[tuple[str, Fact]]:
    """Yield each attack that is tried, how often, and each that is not."""
    for number in sorted({attack.number for attack in ATTACKS}):
        yield f"{number:02}", sum(attack.number == number for attack in ATTACKS)
    for number in NOT_TRIED:
        yield f"{number:02}", 0


def counterexamples() -> Iterator[tuple[str, Fact]]:
    """Yield each counterexample that is kept in a file."""
    for file in sorted(file for folder in COUNTEREXAMPLES for file in (REPOSITORY / folder).rglob("*.json")):
        held = json.loads(file.read_text(encoding="utf-8"))
        yield file.relative_to(REPOSITORY).as_posix(), f"{held['design']}: {held['invariant']}"


def invariants() -> Iterator[tuple[str, Fact]]:
    """Yield each invariant, with the first line that says what it holds."""
    for side, held in (("hypervisor", HYPERVISORS), ("joint", JOINT)):
        for each in held:
            yield f"{side} {each.__name__}", str(each.__doc__).strip().splitlines()[0]


# What the long proofs find


def mutants() -> Iterator[tuple[str, Fact]]:
    """Yield each mutant: that rows kill it, or that its survival is explained; then the rows that kill."""
    grid = hold(trials())
    for mutant, rows_that_kill in sorted(grid.kills.items()):
        explained = "explained" if fits(mutant, SURVIVORS) else "survives"
        yield mutant, "killed" if rows_that_kill else explained
    for row in sorted(grid.rows):
        if row not in grid.idle:
            yield f"row {row}", "kills"
        else:
            yield f"row {row}", "explained" if fits(row, EMPTY) else "idle"
    for mutant in sorted(ALL_MUTANTS.keys() | MUTANTS.keys()):
        yield f"sentence of {mutant}", (ALL_MUTANTS.get(mutant) or MUTANTS[mutant]).sentence


def explorer() -> Iterator[tuple[str, Fact]]:
    """Yield what the explorer finds of each design, with one GFN and no slot to plug."""
    with Processes(processors()) as engine:
        for row in explore(engine, tuple(Design), Bounds((1, 0)), lambda *_: None, None):
            for found in row.found:
                name = f"{row.design}, {' '.join(found.plan.image)}"
                yield f"{name}: states", found.states
                yield f"{name}: transitions", found.transitions
                for violation in found.violations:
                    yield f"{name}: {violation.invariant}", "violated"


def interleavings() -> Iterator[tuple[str, Fact]]:
    """Yield how many yields were tried for each pair of operations, and what was violated."""
    report = run_all()
    for (suspended, run), count in sorted(report.cells.items()):
        yield f"{suspended} | {run}", count
    for kind, count in report.kinds.items():
        yield f"violated: {kind}", count
    yield "cases", report.cases


def crashes() -> Iterator[tuple[str, Fact]]:
    """Yield how many deaths each operation was given, in process and over HTTP."""
    in_process = crash.run_all()
    for operation, moments in zip(CRASH_OPERATIONS, in_process.moments, strict=True):
        yield f"in process: {operation.name}", len(moments)
    killed = kills.run_all()
    for each, found in zip(HTTP_OPERATIONS, killed.moments, strict=True):
        yield f"over HTTP: {each.name}", len(found)
    yield "cases in process", len(in_process.outcomes)
    yield "kills over HTTP", len(killed.outcomes)


SECTIONS: Final[Mapping[str, Callable[[], Iterator[tuple[str, Fact]]]]] = {
    "checks": checks,
    "cells": cells,
    "rows": rows,
    "attacks": attacks,
    "counterexamples": counterexamples,
    "invariants": invariants,
    "interleavings": interleavings,
    "crash": crashes,
    "explorer": explorer,
    "mutants": mutants,
}


# Comparison


def renamed(text: str, renames: Mapping[str, str]) -> str:
    """Return `text` with old words replaced by new ones, whole words only."""
    if not renames:
        return text
    words = "|".join(re.escape(old) for old in sorted(renames, key=len, reverse=True))
    return re.sub(rf"(?<!\w)(?:{words})(?!\w)", lambda found: renames[found[0]], text)


def losses(
    old: Mapping[str, Section], new: Mapping[str, Section], renames: Mapping[str, str]
) -> Iterator[str]:
    """Yield a sentence for each fact of `old` that `new` does not hold."""
    for section, facts in old.items():
        held = new.get(section, {})
        for name, fact in facts.items():
            key = renamed(name, renames)
            before = renamed(fact, renames) if isinstance(fact, str) else fact
            if key not in held:
                yield f"{section}: {key} is gone (it was: {before})"
                continue
            now = held[key]
            if isinstance(before, int) and isinstance(now, int):
                if now < before:
                    yield f"{section}: {key} was {before:,}, and is {now:,}"
            elif now != before:
                yield f"{section}: {key} was {before!r}, and is {now!r}"


def read(file: Path) -> Any:
    """Return what a JSON file holds."""
    return json.loads(file.read_text(encoding="utf-8"))


def compare(old_file: Path, new_file: Path, renames_file: Path | None) -> int:
    """Print what was lost from one ledger to the other; return 1 if anything was."""
    old, new = read(old_file), read(new_file)
    lost = list(losses(old, new, read(renames_file) if renames_file else {}))
    for sentence in lost:
        say(sentence)
    count = sum(map(len, old.values()))
    say(f"ledger: {count:,} facts compared, {len(lost):,} lost")
    return 1 if lost else 0


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """Write a ledger, or compare two."""
    parser = argparse.ArgumentParser(prog="ledger", description=str(__doc__).splitlines()[0])
    parser.add_argument("file", type=Path, nargs="?", metavar="LEDGER.json", help="the ledger to write")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="this section; may be repeated")
    parser.add_argument("--compare", type=Path, nargs=2, metavar=("OLD.json", "NEW.json"))
    parser.add_argument("--renames", type=Path, metavar="RENAMES.json", help="old words and new ones")
    asked = parser.parse_args(arguments)
    if asked.compare:
        old_file, new_file = asked.compare
        return compare(old_file, new_file, asked.renames)
    if asked.file is None:
        parser.error("name the file that the ledger is written to, or --compare two")
    ledger: dict[str, Section] = {}
    for name in asked.only or SECTIONS:
        facts = list(SECTIONS[name]())
        ledger[name] = dict(facts)
        if len(ledger[name]) != len(facts):
            raise ValueError(f"two facts of the section {name} have the same name")
        say(f"{name}: {len(facts):,} facts")
    asked.file.write_text(json.dumps(ledger, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
