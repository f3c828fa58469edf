"""Write `docs/reference/` from what runs: calls with their checks in order, state tables, settings.

Run `make docs`. A test compares the files in the folder with the tables.
"""

from collections.abc import Iterable
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

from pef_hypervisor.app import Settings as HypervisorSettings
from pef_hypervisor.designs import DESIGNS
from pef_hypervisor.gfn.table import VM_TABLE
from pef_kit.core.table import Table
from pef_kit.runtime.command_line import settings_listed
from pef_kit.runtime.settings import SECRETS, ServiceSettings
from pef_protocol.calls import CALLS, Call
from pef_protocol.codes import ASSIGNED, HCode, UCode
from pef_protocol.designs import Design
from pef_ultravisor.app import UltravisorSettings
from pef_ultravisor.gfn.table import GFN, OPERATIONS

FOLDER: Final = Path(__file__).parent / "reference"


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    titles = list(header)
    lines = [titles, ["---"] * len(titles), *(list(row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def first_line(documented: Any) -> str:
    """Return the first line of a docstring."""
    return str(documented.__doc__).strip().splitlines()[0]


def call_page(call: Call) -> str:
    """Return the section of one call."""
    callers = ", ".join(sorted(call.callers))
    checks = (
        [str(place), check.name, check.code.name, check.refuses, "each run" if check.per_run else "message"]
        for place, check in enumerate(call.check_order, 1)
    )
    later = ", ".join(sorted(code.name for code in call.later)) or "none"
    return (
        f"## {call.name} ({call.number:#06x})\n\n{first_line(call.request)}\n\n"
        f"Caller: {callers}. Arguments: {', '.join(call.arguments) or 'none'}. Source: {call.source}.\n\n"
        + table(["#", "check", "code", "refuses", "judges"], checks)
        + f"\nFurther codes, after all checks have passed: {later}.\n"
    )


def calls_page() -> str:
    """Return the page of all calls and codes."""
    codes = (
        [code.name, str(int(code)), "assigned by this project" if code in ASSIGNED else "Linux headers"]
        for family in (UCode, HCode)
        for code in family
    )
    return (
        "# Calls\n\nFor implementers: each call with its checks in their order. "
        "The first check that fails gives the return code.\n"
        "Generated from `pef_protocol.calls` by `make docs`.\n\n"
        + "\n".join(call_page(call) for call in CALLS.values())
        + "\n## Codes\n\n"
        + table(["code", "number", "source"], codes)
    )


def cell_text(cell: Any) -> str:
    """Return a cell as: code, what is done, next state."""
    action = "" if not cell.action else f", {cell.action.name}"
    return f"{cell.code.name}{action} → {cell.next_state.name}"


def state_table(of: Table[Any, Any, Any], events: Iterable[IntEnum]) -> str:
    """Return a transition table: one row per state, one column per event."""
    columns = list(events)
    return table(
        ["state", *(event.name for event in columns)],
        ([state.name, *(cell_text(of.cells[event][state]) for event in columns)] for state in of.states),
    )


def diagram(of: Table[Any, Any, Any], events: Iterable[IntEnum]) -> str:
    """Return the changes of state as a Mermaid diagram."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for event in events:
        for state in of.states:
            next_state = of.cells[event][state].next_state
            if next_state is not state:
                arrows.setdefault((state.name, next_state.name), []).append(event.name)
    lines = [f"  {start} --> {end}: {', '.join(names)}" for (start, end), names in arrows.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```", ""])


def ultravisor_page() -> str:
    """Return the page of the Ultravisor's GFN table."""
    rest = [event for event in GFN.events if event not in OPERATIONS]
    return (
        "# GFN states of the Ultravisor\n\nGenerated from `pef_ultravisor.gfn.table` by `make docs`. "
        "A cell has: code, action, next state.\n\n## Six operations\n\n"
        + state_table(GFN, OPERATIONS)
        + "\n## The same calls in special situations, and the ends of the Ultravisor's own calls\n\n"
        + state_table(GFN, rest)
        + "\n## As a diagram\n\n"
        + diagram(GFN, GFN.events)
    )


def hypervisor_page() -> str:
    """Return the page of the Hypervisor's tables."""
    tracked = DESIGNS[Design.TRACKED].table
    pages = [
        "# States of the Hypervisor\n\nGenerated from `pef_hypervisor.gfn.table` and `.designs` by "
        "`make docs`.\n\n## GFN, design `tracked`\n\n",
        state_table(tracked, tracked.events),
        "\n",
        diagram(tracked, tracked.events),
        "\n## VM\n\n",
        state_table(VM_TABLE, VM_TABLE.events),
    ]
    for design, rules in DESIGNS.items():
        differing = (
            [event.name, state.name, cell_text(cell), cell_text(tracked.cells[event][state])]
            for event, state, cell in rules.table
            if cell != tracked.cells[event][state] and state in rules.states
        )
        if design != Design.TRACKED:
            pages += [
                f"\n## GFN, design `{design}`: what differs from `tracked`\n\n",
                f"States kept: {', '.join(sorted(state.name for state in rules.states))}.\n\n",
                table(["event", "state", f"`{design}`", "`tracked`"], differing),
            ]
    return "".join(pages)


def settings_page() -> str:
    """Return the page of all settings of both services."""
    common = set(ServiceSettings.model_fields)
    models = {
        "Both services": (ServiceSettings, common),
        "The Ultravisor also": (UltravisorSettings, set(UltravisorSettings.model_fields) - common),
        "The Hypervisor also": (HypervisorSettings, set(HypervisorSettings.model_fields) - common),
    }
    head = (
        "# Settings\n\nFor operators: all settings of both services, as `pef-ultravisor --help` and "
        "`pef-hypervisor --help` show them.\nGenerated from the settings' models by `make docs`.\n\n"
        "A setting is an environment variable, or a file of its name in lower case in "
        f"`{SECRETS}`. A wrong one is one line on standard error and exit status 2.\n"
    )
    parts = [head]
    for title, (model, names) in models.items():
        rows = (
            [f"`{setting.name}`", setting.default.removeprefix("default: "), setting.meaning]
            for setting in settings_listed(model)
            if setting.field in names
        )
        parts.append(f"\n## {title}\n\n{table(['setting', 'default', 'meaning'], rows)}")
    return "".join(parts)


PAGES: Final = {
    "calls.md": calls_page,
    "ultravisor-states.md": ultravisor_page,
    "hypervisor-states.md": hypervisor_page,
    "settings.md": settings_page,
}


def main() -> None:
    """Write every page."""
    FOLDER.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
