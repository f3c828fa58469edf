"""Write `docs/answer/results.json` from reports of searches, and the tables of the two pages on it.

    python docs/make_answer.py NAME=REPORT.json ...

A report is what `--json` wrote: of `pef explore`, `python -m pef_mutants explore`, or `pef designs` (costs).
Reports of one name add up, and rows of other names stay. Without a report the tables are written again from
the rows that there are.
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
SOUND_IN_SHORT: Final = "nothing breaks"
NEEDED, FREE = "**needed**", "free here"
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
AS_IT_IS: Final = "nothing is changed"
KNOBS: Final = {
    "": AS_IT_IS,
    "reflects": "a guest's fault on an invalidated page is reflected to the Hypervisor",
    "unmarked": "the Ultravisor marks no page in flight",
    "copies": "until the VM is secure a paged-out page is copied as it comes (D12)",
    "coded": '"shared" has a code of its own',
    "intent": "a flag of UV_PAGE_IN says that the page is to be secure",
    "scrubs": "H_SVM_INIT_ABORT scrubs, and does not ask",
    "late": "a plugged slot is marked after it is registered",
    "early": "a plugged slot is marked before it is registered",
}
"""What each knob changes, by the name that the designs have of it; `pef_explorer.knobs` has the designs."""
HALF: Final = {"pushed-marks": "pushed-fixed-scrubs", "pushed-asks": "pushed-fixed-late"}
"""Two designs of other names that are `pushed-fixed` with one knob changed."""
KNOB_REPORTS: Final = {
    "knobs": "one GFN, one call at a time",
    "knobsplug": "one GFN and one to plug, one call at a time",
    "knobstwo": "one GFN, two calls at a time",
    "knobswire": "one GFN, one call at a time, a message that may be lost or act twice",
}
"""The reports of these designs, and their bounds."""
TWO_CALLS: Final = "one GFN and one to plug, two calls"
MOST_FIRST: Final = {
    "two": TWO_CALLS,
    "halves": TWO_CALLS,
    "knobstwo": "one GFN, two calls",
    "knobsplug": "one GFN and one to plug, one call",
    "knobs": "one GFN, one call",
}
"""Reports that have one-knob designs, with their bounds; the short table shows the first one."""
KNOB_BASES: Final = ("pushed-fixed", "tracked", "pushed", "pushed-unasked")

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


def changed_in(design: str) -> tuple[str, str]:
    """Return the base of a design that has one knob changed, and the knob; empty where nothing is changed."""
    named = HALF.get(design, design)
    base = max((each for each in KNOB_BASES if (named + "-").startswith(f"{each}-")), key=len)
    return base, named.removeprefix(base).removeprefix("-")


def knobs(rows: Rows) -> str:
    """Return the whole table of knobs: one line per base and knob, one column per bound."""
    designs = dict.fromkeys(row_id.partition("/")[2] for row_id in rows if row_id.startswith("knobs/"))
    order = [(base, knob) for base in KNOB_BASES for knob in KNOBS]
    lines = [
        [
            f"`{base}`",
            KNOBS[knob],
            needed(rows, base, design) if knob else "",
            *(in_short(rows, f"{name}/{design}") for name in KNOB_REPORTS),
        ]
        for base, knob, design in sorted(
            ((*changed_in(design), design) for design in designs), key=lambda each: order.index(each[:2])
        )
    ]
    return table(["design", "what is changed", "the setting is", *KNOB_REPORTS.values()], lines)


def needed(rows: Rows, base: str, design: str) -> str:
    """Say whether a design needs a setting: whether it breaks with that changed, on a wire without loss."""
    if any(broken(rows, report, base) for report in MOST_FIRST):
        return "of a design that is not sound"
    return NEEDED if any(broken(rows, report, design) for report in MOST_FIRST) else FREE


def broken(rows: Rows, report: str, design: str) -> bool:
    """Tell whether a report has a row of a design in which something is broken."""
    row = rows.get(f"{report}/{design}")
    return row is not None and bool(row["violations"])


def in_short(rows: Rows, row_id: str) -> str:
    """Return a verdict with its row, for a cell: of what is broken, what is found first."""
    row = rows.get(row_id)
    if row is None:
        return ""
    found = sorted(row["violations"], key=lambda each: each[1])
    others = f" and {len(found) - 1} more" if len(found) > 1 else ""
    verdict = f"`{found[0][0]}` ({found[0][1]}){others}" if found else verdict_of(row)
    return f"{verdict.replace(SOUND, SOUND_IN_SHORT)} `{row_id}`"


def knobs_alone(rows: Rows) -> str:
    """Return the short table: each knob changed alone in `pushed-fixed`, and whether it can be left out."""
    lines = []
    for knob, sentence in KNOBS.items():
        design = next((name for name, named in HALF.items() if named == f"pushed-fixed-{knob}"), None)
        for report, bound in MOST_FIRST.items():
            row_id = f"{report}/{design or f'pushed-fixed-{knob}'.removesuffix('-')}"
            row = rows.get(row_id)
            if row is not None and (row["violations"] or row["complete"]):
                verdict = needed(rows, "pushed-fixed", row_id.partition("/")[2]) if knob else ""
                lines.append([sentence, verdict, bound, verdict_of(row), f"`{row_id}`"])
                break
    header = ["changed alone in `pushed-fixed`", "the setting is", "searched", "verdict", "row"]
    return table(header, lines)


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
    found |= {"halves": halves(rows), "knobs": knobs(rows), "knobsalone": knobs_alone(rows)}
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
    files = [(name, path) for name, _, path in (named.partition("=") for named in reports)]
    again = {f"{name}/" for name, _ in files}
    rows = {row_id: row for row_id, row in rows.items() if not row_id.startswith(tuple(again))}
    for name, path in files:
        rows |= rows_of(name, json.loads(Path(path).read_text(encoding="utf-8")))
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    for page in PAGES:
        page.write_text(written(page.read_text(encoding="utf-8"), rows), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
