"""`python -m pef_mutants`: list the mutants, keep a pair up that has some of them, or explore with them."""

from contextlib import ExitStack
from typing import Annotated, Final

import typer

from pef_explorer.search.command import explore_designs, extras_of, slots_of
from pef_explorer.search.exploration import Bounds
from pef_lab import options as given
from pef_lab.commandline import Command
from pef_lab.failures import WrongInput
from pef_lab.keeping import keep_up
from pef_lab.pair import PairPlan
from pef_lab.signals import run_until_ended
from pef_lab.tables import console_for
from pef_mutants.all_mutants import APPLICABLE
from pef_mutants.mutant import Mutant

SECURE_MEMORY: Final = 16 << 30
"""Bytes of secure memory of the pair, as of `pef up`."""

app: Final = Command(
    help="Services with one deliberate fault each, for lessons: list the faults, and start a pair with one.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def show(context: typer.Context) -> None:
    """List all mutants: name, side, and what is wrong."""
    if context.invoked_subcommand is None:
        width = max(map(len, APPLICABLE))
        for mutant in APPLICABLE.values():
            typer.echo(f"{mutant.id:{width}}  {mutant.side.capitalize()}  {mutant.sentence}")


@app.command()
def serve(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="The mutants.")],
) -> None:
    """Start both services on loopback, with mutants in them, and keep them up until Ctrl-C."""
    console = console_for()
    for mutant in [_known(name) for name in names]:
        console.print(line_of(mutant), markup=False, soft_wrap=True)
    run_until_ended(keep_up(PairPlan(SECURE_MEMORY, mutants=tuple(names)), console))


@app.command()
def explore(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="The mutants.")],
    design: given.DesignNames = None,
    slots: given.Slots = "1",
    vcpus: given.Vcpus = 1,
    calls: given.Calls = 2,
    faults: given.Faults = 0,
    extras: given.With = "",
    limit: given.Limit = 0,
    minutes: given.Minutes = 0,
    json_file: given.JsonFile = None,
    keep: given.Keep = None,
    processes: given.Processes = None,
) -> None:
    """Explore as `pef explore` does, with mutants in both services."""
    bounds = Bounds(slots_of(slots), vcpus, calls, faults, limit, minutes * 60, extras=extras_of(extras))
    with ExitStack() as applied:
        for mutant in [_known(name) for name in names]:
            applied.enter_context(mutant.triggered())
            applied.enter_context(mutant.applied())
        # The processes are forked from this one, so that each of them has the mutants.
        explore_designs(design, bounds, None, json_file, keep, processes, None, mutants=names)


def line_of(mutant: Mutant) -> str:
    """Return what is printed of a mutant before the pair starts."""
    return f"{mutant.side.capitalize()} with {mutant.id}: {mutant.sentence}"


def _known(name: str) -> Mutant:
    mutant = APPLICABLE.get(name)
    if mutant is None:
        raise WrongInput(f"no such mutant: {name}; `python -m pef_mutants` lists them")
    return mutant


if __name__ == "__main__":
    app()
