"""Calls by nobody: without a token that the Ultravisor knows no call is so much as looked at.

Source: attacks, 45; architecture, "HTTP".
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from pef_lab.rows.row import Finding, Kind, Row
from pef_lab.rows.sheet import Sheet, refused
from pef_lab.rows.stage import Stage
from pef_lab.rows.ultravisor.scene import ANYWHERE, By, Cast

UNAUTHORIZED: Final = "HTTP 401"


def rows(sheets: Sequence[Sheet]) -> Iterator[Row]:
    """Yield a row a call: made well, by nobody."""
    for sheet in sheets:
        yield Row(
            f"{sheet.path}/nobody",
            Kind.RUNG,
            sheet.call.name,
            f"{sheet.call.name} without a known token: {UNAUTHORIZED}",
            ANYWHERE,
            partial(_play, sheet=replace(sheet, well={**sheet.well, "by": By.NOBODY})),
        )


async def _play(stage: Stage, sheet: Sheet) -> Finding:
    return await refused(stage, Cast, lambda cast: sheet.make(stage, cast, sheet.well), UNAUTHORIZED)
