"""Verdicts of a live session: what can be seen from outside, and nothing else.

The judge of replays (`pef_lab.replay.judge`) follows the GFNs that the session acts on. The tables are
compared on all GFNs of the VM.
"""

from collections.abc import Iterable
from typing import Any, Final

import numpy as np

from pef_console.live.columns import DIFFERS, Columns, name_of
from pef_lab.replay.judge import JUDGED, Breach
from pef_protocol.states import HvGfnState, UvGfnState

TABLES: Final = "the_tables_agree"


class Verdicts:
    """The first breach of each invariant, on the path to the cursor."""

    def __init__(self, judged: Iterable[str] = JUDGED) -> None:
        self._judged = sorted(judged)
        self._breaches: dict[str, Breach] = {}

    def take(self, breaches: Iterable[Breach]) -> None:
        """Add what a judge has seen broken."""
        for breach in breaches:
            self._breaches.setdefault(breach.invariant, breach)

    def compare(self, node: int, columns: Columns) -> None:
        """Compare both tables of the whole VM."""
        differing = np.flatnonzero(columns.joint() == DIFFERS)
        if not len(differing):
            return
        gfn = columns.gfn_at(int(differing[0]))
        own, theirs = columns.at(gfn)
        states = (
            f"{name_of(HvGfnState, own)} to the Hypervisor, {name_of(UvGfnState, theirs)} to the Ultravisor"
        )
        more = f"; {len(differing) - 1} more GFNs differ" if len(differing) > 1 else ""
        self._breaches.setdefault(TABLES, Breach(TABLES, f"GFN {gfn} is {states}{more}", node))

    @property
    def broken(self) -> list[Breach]:
        """Return the breaches."""
        return list(self._breaches.values())

    def shown(self) -> list[dict[str, Any]]:
        """Return all verdicts as a frame has them."""
        return [self._row(name) for name in self._judged]

    def _row(self, name: str) -> dict[str, Any]:
        breach = self._breaches.get(name)
        sentence, node = (breach.sentence, breach.step) if breach else ("", None)
        return {"invariant": name, "holds": breach is None, "sentence": sentence, "node": node}
