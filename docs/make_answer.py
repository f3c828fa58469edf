"""Write `docs/answer/results.json` from reports of searches, and the tables of the two pages on it.

    python docs/make_answer.py NAME=REPORT.json ...

A report is what `--json` wrote: of `pef explore`, `python -m pef_mutants explore`, or `pef designs` (costs).
Rows of other names stay. Without a report the tables are written again from the rows that there are.
"""

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pef_lab.replay import drawing
from pef_lab.replay.counterexample import read

DOCS: Final = Path(__file__).parent
PAGES: Final = (DOCS / "the-question.md", DOCS / "the-question-in-detail.md")
RESULTS: Final = DOCS / "answer" / "results.json"
DRAWN: Final = DOCS / "answer" / "pushed-fixed-with-d12.json"
"""What `python -m pef_mutants explore D12 --design pushed-fixed --slots 1 --keep DIR` found."""
SOUND: Final = "**no reachable state breaks an invariant**"
GIB: Final = 1 << 30
MIB: Final = 1 << 20

HALVES: Final = {
    "pushed": ("scrubs", "after it is registered"),
    "pushed-asks": ("asks", "after it is registered"),
    "pushed-marks": ("scrubs", "before it is registered"),
    "pushed-fixed": ("asks", "before it is registered"),
}
"""What each design does with what it can't tell; `pef_explorer.half_repairs` has the two in the middle."""
AT_ONCE: Final = "uses it at once"
WAITS: Final = {"halves": AT_ONCE, "two": AT_ONCE, "waits": "waits until it is plugged in"}
"""The reports of these designs with two kinds of guests."""
OF_SEARCHES: Final = ("all", "one", "onetwo", "two", "d12", "readings", "wireonce", "wireunreliable")
"""The reports of searches that have a table of their own."""
Rows = dict[str, dict[str, Any]]


OF_A_SEARCH: Final = ("states", "transitions", "depth", "complete")
OF_A_RUN: Final = ("seconds", "messages", "gfns_carried", "bytes_moved", "bytes_per_gfn")


def rows_of(name: str, report: Mapping[str, Any]) -> Rows:
    """Return the rows of a report, of a search or of a run, by id: the name of the report and the design."""
    rows: Rows = {}
    for design in report["designs"]:
        row = {"command": report["command"], "commit": report["commit"]}
        row |= {part: design[part] for part in (*OF_A_SEARCH, *OF_A_RUN) if part in design}
        if "violations" in design:
            row["violations"] = [[each["invariant"], each["length"]] for each in design["violations"]]
        rows[f"{name}/{design['name']}"] = row
    return rows


def table(header: list[str], lines: list[list[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, ["---"] * len(header), *lines])


def verdict_of(row: Mapping[str, Any]) -> str:
    """Return a verdict as the page says it; only a complete search says that nothing breaks."""
    if row["violations"]:
        found = ", ".join(f"`{invariant}` ({length})" for invariant, length in row["violations"])
        return found if row["complete"] else f"{found}, and the search was cut"
    return SOUND if row["complete"] else f"nothing broken up to depth {row['depth']}: the search was cut"


def verdicts(rows: Rows, name: str) -> str:
    """Return the table of the rows of one report, each with its id."""
    lines = [
        [
            f"`{row_id.partition('/')[2]}`",
            f"{row['states']:,}",
            f"{row['transitions']:,}",
            verdict_of(row),
            f"`{row_id}`",
        ]
        for row_id, row in rows.items()
        if row_id.startswith(f"{name}/")
    ]
    return table(["design", "states", "transitions", "verdict", "row"], lines)


def halves(rows: Rows) -> str:
    """Return the table of the repair, half by half: one line per design of two states and kind of guest."""
    lines = [
        [asks, marks, waits, verdict_of(rows[row_id]), f"`{row_id}`"]
        for name, waits in WAITS.items()
        for design, (asks, marks) in HALVES.items()
        if (row_id := f"{name}/{design}") in rows
    ]
    return table(["H_SVM_INIT_ABORT", "a plugged slot is marked", "the guest", "verdict", "row"], lines)


def costs(rows: Rows) -> str:
    """Return the table of what one UV_ESM costs."""
    lines = [
        [
            f"`{row_id.partition('/')[2]}`",
            f"{row['messages']['ultracalls']} + {row['messages']['hypercalls']}",
            f"{row['gfns_carried']:,}",
            amount(row["bytes_moved"]),
            f"{row['bytes_per_gfn']['hypervisor']:g} + {row['bytes_per_gfn']['ultravisor']:g}",
            f"{row['seconds'] * 1000:.0f} ms",
            f"`{row_id}`",
        ]
        for row_id, row in rows.items()
        if row_id.startswith("costs/")
    ]
    header = ["design", "ultracalls + hypercalls", "GFNs that they carry", "bytes moved"]
    return table([*header, "bytes of state per GFN, Hypervisor + Ultravisor", "time here", "row"], lines)


def amount(size: float) -> str:
    """Return bytes as people say them."""
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size / MIB:.1f} MiB"


def tables(rows: Rows) -> dict[str, str]:
    """Return what stands in each block of the page."""
    found = {name: verdicts(rows, name) for name in OF_SEARCHES}
    found["halves"] = halves(rows)
    drawn = "\n".join(drawing.mermaid(read(DRAWN)))
    return {**found, "costs": costs(rows), "drawn": f"```mermaid\n{drawn}\n```"}


def written(page: str, rows: Rows) -> str:
    """Return the page with its tables as the rows say."""
    for name, content in tables(rows).items():
        block = re.compile(rf"<!-- {name} -->.*?<!-- end -->", re.DOTALL)
        page = block.sub(lambda _, now=(name, content): f"<!-- {now[0]} -->\n{now[1]}\n<!-- end -->", page)
    return page


def main(reports: list[str]) -> None:
    """Take in the reports that are named, and write rows and page."""
    rows: Rows = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for named in reports:
        name, _, path = named.partition("=")
        report = json.loads(Path(path).read_text(encoding="utf-8"))
        rows = {row_id: row for row_id, row in rows.items() if not row_id.startswith(f"{name}/")}
        rows |= rows_of(name, report)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    for page in PAGES:
        page.write_text(written(page.read_text(encoding="utf-8"), rows), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
