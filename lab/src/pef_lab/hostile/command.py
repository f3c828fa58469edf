"""What `pef hostile` does."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import fields, replace
from fnmatch import fnmatchcase
from math import isfinite
from pathlib import Path
from typing import Final

import typer
from rich.console import Console

from pef_lab.between.script import ScriptedBetween
from pef_lab.between.wire import PLAN, Ports, ports_of, standing_between
from pef_lab.commandline import FAILED
from pef_lab.endpoints import Endpoints
from pef_lab.estimates import ATTACK, say_how_long
from pef_lab.failures import Refusal, Unanswered, WrongInput
from pef_lab.hostile.attack import Attack, attempted
from pef_lab.hostile.catalogue import ATTACKS, NOT_TRIED, TOO_SLOW
from pef_lab.hostile.ground import Ground, occupied
from pef_lab.hostile.opening import accomplice, try_the_doors
from pef_lab.hostile.report import Row, summary, table_of, write_json
from pef_lab.hostile.trial import Outcome
from pef_lab.output import must_be_writable
from pef_lab.signals import run
from pef_lab.tables import console_for

OWN_PATIENCE: Final = 5.0
"""Seconds after which the Ultravisor of a pair of our own gives a call of an SVM up."""
OPENING: Final = 60.0
"""Seconds that a running pair may take until the attacker's own VM is there."""
NOT_HERE: Final = "that pair can't be attacked"
OWN_ATTEMPT: Final = 1.0
"""Seconds after which the services of a pair of our own ask again."""

EVERYTHING: Final = frozenset(part.name for part in fields(Endpoints))
"""A hostile Hypervisor knows its own token; and ours the Ultravisor's, for normal memory."""

Tell = Callable[[Attack], None]


def hostile(
    ultravisor: str | None,
    hypervisor: str | None,
    between_ultravisor: int | None,
    between_hypervisor: int | None,
    bind: str | None,
    give_up: float,
    patterns: Sequence[str] | None,
    json_file: Path | None,
) -> None:
    """Try the attacks that are meant, tell what came of them, and fail where one did not hold."""
    ports = ports_of(ultravisor, hypervisor, between_ultravisor, between_hypervisor, bind, needs=EVERYTHING)
    if not (isfinite(give_up) and give_up >= 0):
        raise WrongInput("--give-up: how many seconds?")
    known_patience = give_up if ports else OWN_PATIENCE
    wanted = _wanted(patterns or ())
    chosen = [each for each in wanted if known_patience or not each.slow]
    not_tried = [] if patterns else [*NOT_TRIED.items()]
    not_tried += [(each.number, f"{each.tried}: {TOO_SLOW}") for each in wanted if each not in chosen]
    must_be_writable(json_file)
    console, errors = console_for(), console_for(errors=True)
    say_how_long(errors, sum(ATTACK + known_patience * each.slow for each in chosen))
    rows = run(attacked(ports, known_patience, chosen, errors))
    console.print(table_of(rows))
    for number, why in sorted(not_tried):
        console.print(f"  {number} not tried: {why}", style="dim", markup=False, soft_wrap=True)
    all_held = bool(rows) and all(row.outcome is Outcome.HELD for row in rows)
    console.print(summary(rows), style="bold green" if all_held else "bold red", markup=False)
    if json_file is not None:
        write_json(json_file, rows, not_tried)
    if not all_held:
        raise typer.Exit(FAILED)


def _wanted(patterns: Sequence[str]) -> list[Attack]:
    for pattern in patterns:
        if not any(fnmatchcase(str(attack.number), pattern) for attack in ATTACKS):
            number = int(pattern) if pattern.isdecimal() else 0
            why = NOT_TRIED.get(number, "there is no such row")
            raise WrongInput(f"--id: {pattern} is not tried: {why}")
    return [
        attack
        for attack in ATTACKS
        if not patterns or any(fnmatchcase(str(attack.number), pattern) for pattern in patterns)
    ]


async def attacked(
    ports: Ports | None, patience: float, chosen: Sequence[Attack], errors: Console
) -> list[Row]:
    """Try the chosen attacks on a running pair, or on one of our own, and tell of each."""
    rows: list[Row] = []
    async with _ground(ports, patience) as ground:
        with _telling(errors, len(chosen)) as tell:
            for attack in chosen:
                tell(attack)
                began = time.perf_counter()
                trial = await attempted(ground, attack)
                rows.append(Row(attack, trial, time.perf_counter() - began))
    return rows


@asynccontextmanager
async def _ground(ports: Ports | None, patience: float) -> AsyncIterator[Ground]:
    """Occupy a running pair, or one of our own; raise WrongInput where a running one can't be."""
    plan = replace(PLAN, peer_timeout=OWN_ATTEMPT, give_up=OWN_PATIENCE)
    async with standing_between(ScriptedBetween, ports, plan) as between, AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(OPENING if ports else None):
                ground = await stack.enter_async_context(occupied(between, patience))
                await try_the_doors(ground)
                await stack.enter_async_context(accomplice(ground))
        except (Refusal, Unanswered) as fault:
            if ports is None:
                raise
            raise WrongInput(f"{NOT_HERE}: {fault}") from None
        except TimeoutError:
            reason = f"none of its VMs is secure within {OPENING:g} s"
            raise WrongInput(f"{NOT_HERE}: {reason}; do its services call each other here?") from None
        yield ground


@contextmanager
def _telling(console: Console, attacks: int) -> Iterator[Tell]:
    """Return what to tell each attack to, before it is tried."""
    told = 0

    def words(attack: Attack) -> str:
        nonlocal told
        told += 1
        return f"{told} of {attacks}: attack {attack.number}, {attack.tried}"

    if console.is_terminal:
        with console.status("") as status:
            yield lambda attack: status.update(words(attack))
    else:
        yield lambda attack: console.print(words(attack), markup=False, soft_wrap=True)
