"""Collects the runs of a paging call that are refused, and makes the reply of them."""

import numpy as np

from pef_kit.core.checks import Codes
from pef_kit.core.columns import GfnSet, SlotT
from pef_kit.core.runs import I64, U64, run_starts, words_of
from pef_protocol.calls import Reply
from pef_protocol.check_orders import Check
from pef_protocol.codes import Code, HCode, UCode
from pef_protocol.quantities import PAGE_ORDER
from pef_protocol.runs import CodedRuns


class Refusals:
    """The refused runs of one message, each with its code, in the message's order."""

    def __init__(self, gpas: U64, counts: U64, family: type[UCode] | type[HCode]) -> None:
        self._gpas = gpas
        self._counts = counts
        self._family = family
        self._rows: list[tuple[I64, U64, I64, Codes]] = []
        self.detail = ""

    def add_runs(self, codes: Codes) -> None:
        """Add every whole run whose code is not 0."""
        rows = codes.nonzero()[0]
        if len(rows):
            counts = self._counts[rows].view(np.int64)
            self._rows.append((rows, self._gpas[rows], counts, codes[rows]))

    def add_pages(self, gfns: GfnSet[SlotT], codes: Codes) -> None:
        """Add the GFNs of `gfns` whose element of `codes` (one a page) is not 0, as sub-runs."""
        wrong = codes.nonzero()[0]
        if not len(wrong):
            return
        rows = gfns.each_row()[wrong]
        numbers = gfns.each_gfn()[wrong]
        firsts, counts = run_starts(len(wrong), (numbers, 1), (codes[wrong], 0), (rows, 0))
        gpas = numbers[firsts].astype(np.uint64) << np.uint64(PAGE_ORDER)
        self._rows.append((rows[firsts], gpas, counts, codes[wrong][firsts]))

    def reply(self, refused_whole: Check | None = None) -> Reply:
        """Return the reply: success if nothing was refused, else the code of the first refused run.

        The refusal of a message as a whole names no runs: nothing is said of any of them.
        """
        if refused_whole or not self._rows:
            code: Code = refused_whole.code if refused_whole else self._family(0)
            return Reply(code, detail=self.detail, check=refused_whole.name if refused_whole else "")
        rows, gpas, counts, codes = (np.concatenate(column) for column in zip(*self._rows, strict=True))
        order = np.lexsort((gpas, rows))
        refused = CodedRuns(words_of(gpas[order], counts[order], codes[order]))
        return Reply(self._family(int(codes[order][0])), refused=refused, detail=self.detail)
