"""What the lab shows in a terminal: the table of designs, observations, pages, and sequences of calls."""

import os
import string
import sys
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pef_lab.blocks import Blocks
from pef_lab.designs.report import VERDICTS, DesignReport
from pef_lab.findings import Observation, Verdict
from pef_lab.pages import ZERO, kinds_of, name_of
from pef_lab.sequence import INDENT, Line, Step, Turn, lines_of, words_of
from pef_lab.sizes import show_seconds, show_size
from pef_protocol.events import Side

PLAIN_WIDTH: Final = 110
"""Columns where the output is no terminal and nobody says how wide it is."""
DUMPED: Final = 12
"""Bytes of a page that are shown as numbers."""
READ: Final = 32
"""Bytes in a line that is shown as text."""
READ_LINES: Final = 3
GAP: Final = 2
"""Characters between the columns of a sequence."""
READABLE: Final = frozenset(string.ascii_letters + string.digits + string.punctuation + " ")
ANSWERED_WELL: Final = frozenset({"OK", "resolved"})
"""Codes of operations and accesses that were done."""

STYLES: Final = {
    Verdict.OK: "green",
    Verdict.REFUSED: "yellow",
    Verdict.CORRUPT: "bold red",
    Verdict.ERROR: "bold magenta",
}
SIGNS: Final = {Verdict.OK: "✔", Verdict.REFUSED: "▲", Verdict.CORRUPT: "✘", Verdict.ERROR: "!"}


def console_for(*, errors: bool = False) -> Console:
    """Return a console on standard output or standard error that is readable where it is no terminal too."""
    stream = sys.stderr if errors else sys.stdout
    fixed = None if stream.isatty() or "COLUMNS" in os.environ else PLAIN_WIDTH
    return Console(stderr=errors, width=fixed, highlight=False)


def designs_table(reports: Sequence[DesignReport], title: str) -> Blocks:
    """Return the designs side by side: what UV_ESM cost, then a verdict a line."""
    table = Blocks(("", *(report.name for report in reports)), title)
    costs = [report.cost for report in reports]
    rows: dict[str, list[str]] = {
        "UV_ESM": [show_seconds(cost.seconds) if cost else "-" for cost in costs],
        "ultracalls": [f"{cost.counted.ultracalls:,}" if cost else "-" for cost in costs],
        "hypercalls": [f"{cost.counted.hypercalls:,}" if cost else "-" for cost in costs],
        "GFNs carried": [f"{cost.counted.gfns_carried:,}" if cost else "-" for cost in costs],
        "bytes moved": [show_size(cost.counted.bytes_moved) if cost else "-" for cost in costs],
    }
    for side in (Side.HYPERVISOR, Side.ULTRAVISOR):
        kept = [f"{cost.bytes_per_gfn[side]:.2g}" if cost else "-" for cost in costs]
        rows[f"bytes per GFN, {side}"] = kept
    for name, cells in rows.items():
        table.add_row(name, *cells, end_section=name.endswith(Side.ULTRAVISOR))
    for step in VERDICTS:
        verdicts = [report.verdicts[step] for report in reports]
        table.add_row(step.replace("_", " "), *(verdict_text(verdict) for verdict in verdicts))
    return table


def verdict_text(verdict: Verdict) -> Text:
    """Return a verdict in its colour."""
    return Text(f"{SIGNS[verdict]} {verdict}", STYLES[verdict])


def observation_text(observation: Observation, *, full: bool = False) -> Text:
    """Return an observation as one line; with what was expected where it came out otherwise, or `full`."""
    line = Text(f"  {SIGNS[observation.verdict]} ", STYLES[observation.verdict])
    line.append(observation.what, "default")
    line.append(f": {observation.observed}", "dim" if observation.verdict is Verdict.OK else "default")
    if full or observation.verdict is not Verdict.OK:
        line.append(f" (expected: {observation.expected})", "dim")
    return line


def faults_of(report: DesignReport, *, most: int | None = None) -> Iterable[Text]:
    """Yield what came out otherwise than the protocol promises, by step; of each step at most `most`."""
    faults = [each for each in report.observations if each.verdict is not Verdict.OK]
    if faults:
        yield Text(report.name, "bold")
    for step, seen in groupby(faults, key=lambda each: each.step):
        for number, each in enumerate(seen):
            if most is None or number < most:
                line = Text(f"  {step.replace('_', ' ')}:")
                yield line.append(observation_text(each).plain[1:], STYLES[each.verdict])


def page_panel(title: str, octets: bytes, gfn: int, *, style: str = "default") -> Panel:
    """Return the beginning of a page as bytes and as text, under what it is."""
    lines: list[RenderableType] = [Text(octets[:DUMPED].hex(" ", 2) + " …", "dim")]
    for start in range(0, READ * READ_LINES, READ):
        part = octets[start : start + READ]
        lines.append(Text("".join(chr(each) if chr(each) in READABLE else "·" for each in part), style))
    kind = int(kinds_of(octets, gfn)[0])
    lines.append(Text(f"= {name_of(kind)}", "dim" if kind == ZERO else style))
    return Panel(Group(*lines), title=title, title_align="left", expand=False)


def side_by_side(*panels: RenderableType) -> Table:
    """Return panels next to each other."""
    grid = Table.grid(padding=(0, 2))
    for _ in panels:
        grid.add_column()
    grid.add_row(*panels)
    return grid


def _call(line: Line, column: int) -> Text:
    """Return a call in a column of so many characters; what does not fit goes on below, whole."""
    call, arguments, code = words_of(line)
    indent = " " * (INDENT * line.depth)
    good = line.event.code.endswith("_SUCCESS") or line.event.code in ANSWERED_WELL
    parts = [(word, "default") for word in call.split(" ")] + [(word, "dim") for word in arguments.split()]
    parts += [(word, "green" if good else "yellow") for word in code.split(" ") if word]
    cell = Text(indent)
    used, begins = len(indent), True
    for word, style in parts:
        if not begins and used + 1 + len(word) > column:
            cell.append(f"\n{indent}{' ' * INDENT}")
            used, begins = len(indent) + INDENT, True
        cell.append(word if begins else f" {word}", style)
        used += len(word) + (not begins)
        begins = False
    return cell


def sequence_table(steps: Iterable[Step], width: int) -> Table:
    """Return recorded calls in two columns of a table of `width` characters, indented by depth.

    A call stands in the column of the side that answers it. Where it is too long it goes on in the next line.
    """
    column = (width - GAP) // 2
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, GAP, 0, 0))
    table.add_column("Ultravisor", width=column, overflow="fold")
    table.add_column("Hypervisor", width=column, overflow="fold")
    for step in steps:
        if not step.roots:
            continue
        title = f"{step.run}: {step.title}" if step.run else step.title
        table.add_row(Text(title, "bold cyan"), "")
        for line in lines_of(step.roots):
            cell = _call(line, column)
            if line.turn is Turn.SKIPPED:
                cell.stylize("dim")
            here = line.event.side is Side.ULTRAVISOR
            table.add_row(cell if here else "", "" if here else cell)
    return table
