"""What `python -m pef_model` does: it compares what SPIN and the explorer see of one GFN at rest."""

import time
from dataclasses import replace
from typing import Final

import typer

from pef_explorer.engines import engine_for, processors
from pef_explorer.plan import IMAGES
from pef_lab import options as given
from pef_lab.blocks import Blocks
from pef_lab.commandline import FAILED, Command
from pef_lab.failures import WrongInput
from pef_lab.known_designs import ALL, GROUPS, chosen_designs
from pef_lab.tables import console_for
from pef_model.comparison import Row, compared
from pef_model.spin import reached, require_tools
from pef_model.tables import Model, NotModelled

app: Final = Command(
    help="Compare a model for SPIN with the services' own code: the states of one GFN at rest.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command()
def compare(
    design: given.DesignNames = None, vcpus: given.Vcpus = 1, processes: given.Processes = None
) -> None:
    """Compare, for each design and each part that a GFN may play in UV_ESM; fail where they differ."""
    require_tools()
    designs = chosen_designs(design or [ALL], GROUPS)
    try:
        models = [replace(Model.of(design, part), vcpus=vcpus) for design in designs for (part,) in IMAGES[1]]
    except NotModelled as reason:
        raise WrongInput(str(reason)) from None
    console, errors = console_for(), console_for(errors=True)
    began = time.perf_counter()
    errors.print(f"SPIN searches {len(models)} models of one GFN", soft_wrap=True)
    spin = reached(models)
    seconds = time.perf_counter() - began
    errors.print(f"  {spin.stored:,} states, with its program, in {seconds:.0f} s", soft_wrap=True)

    def report(row: Row) -> None:
        errors.print(f"the explorer has searched {_name(row)}", markup=False, soft_wrap=True)

    with engine_for(processes or processors(), None) as engine:
        rows = compared(models, spin.seen, engine, report)
    console.print(_table(rows))
    for row in rows:
        for line in row.differences:
            console.print(f"✘ {_name(row)}: {line}", markup=False, soft_wrap=True)
    equal, different = sum(row.equal for row in rows), sum(len(row.differences) for row in rows)
    console.print(
        f"{sum(row.equal_steps for row in rows):,} steps from one state at rest to the next are equal"
    )
    console.print(f"model-check: {len(rows)} models, {equal:,} states at rest equal, {different} differences")
    if different:
        raise typer.Exit(FAILED)


def _name(row: Row) -> str:
    return f"{row.model.row.name} ({row.model.part})"


def _table(rows: list[Row]) -> Blocks:
    """Return the rows as a table."""
    columns = ("model", "states: SPIN", "explorer", "steps: SPIN", "explorer", "differences")
    table = Blocks(columns, "One GFN at rest")
    for row in rows:
        spin, explorer = row.spin, row.explorer
        numbers = (spin.states, explorer.states, spin.steps, explorer.steps, row.differences)
        table.add_row(_name(row), *(f"{len(each)}" for each in numbers))
    return table
