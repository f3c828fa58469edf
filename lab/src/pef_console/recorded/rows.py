"""Conformance results: a file of `pef rows --json`, one row after the other."""

import json
from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from pef_console.recorded.entries import Entry, Recording, arrow, verdict
from pef_lab.rows.report import SCHEMA, VERSION
from pef_lab.rows.row import Verdict

SIDES: Final = {"uv": "ultravisor", "hv": "hypervisor"}
"""Sides by the first part of the id of a row."""
JUDGED: Final = {Verdict.PASS: True, Verdict.FAIL: False, Verdict.WAIVED: False}
"""Whether a row holds, by its verdict; with any other verdict nothing is known of it."""


class PlayedRow(BaseModel):
    """A row of the file, as far as it is shown."""

    model_config = ConfigDict(extra="ignore")

    id: str
    call: str
    level: str
    clause: str
    verdict: Verdict
    expected: str | None = None
    observed: str | None = None
    cause: str | None = None


class Pass(BaseModel):
    """All rows against one subject."""

    model_config = ConfigDict(extra="ignore")

    subject: str
    rows: tuple[PlayedRow, ...]


class RowsFile(BaseModel):
    """The file."""

    model_config = ConfigDict(extra="ignore")

    passes: tuple[Pass, ...]


def is_rows(content: Mapping[str, Any]) -> bool:
    """Tell whether a file says of itself that it is such a file, of whatever version."""
    return content.get("schema") == SCHEMA


def version_of(content: Mapping[str, Any]) -> str:
    """Return what is wrong with its version, or nothing."""
    found = content.get("version")
    return "" if found == VERSION else f"of version {found!r:.20}, where {VERSION} is read here"


def recording_of(content: Mapping[str, Any]) -> Recording:
    """Return the rows that were judged; raise ValidationError where the file is not of its form."""
    found = RowsFile.model_validate(content)
    tried = [
        (each.subject, row)
        for each in found.passes
        for row in each.rows
        if row.verdict is not Verdict.SKIPPED
    ]
    held = sum(row.verdict is Verdict.PASS for _, row in tried)
    title = f"conformance: {held} of {len(tried)} rows pass"
    return Recording(title, [_entry(subject, row) for subject, row in tried], json.dumps(content, indent=1))


def _entry(subject: str, row: PlayedRow) -> Entry:
    side = SIDES.get(row.id.partition("/")[0], "hypervisor")
    lines = [
        f"{row.id}: {row.clause}",
        *(f"expected {row.expected}" for _ in [row.expected] if row.expected),
        *(f"observed {row.observed}" for _ in [row.observed] if row.observed),
        *(row.cause for _ in [row.cause] if row.cause),
    ]
    holds = JUDGED.get(row.verdict)
    seen = "; ".join(part for part in (row.observed, row.cause) if part)
    sentence = row.clause if holds else f"{row.clause}: {seen or row.verdict}"
    return Entry(
        label=f"{row.id} ({subject}, {row.level})",
        outcome=str(row.verdict),
        arrows=tuple(arrow(side, side, line, "note") for line in lines),
        verdicts=() if holds is None else (verdict(row.id, holds=holds, sentence=sentence),),
    )
