"""Collects the runs of a paging call that are refused, and makes the reply of them."""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from pef_kit.core.checks import Codes, answered_by_table
from pef_kit.core.columns import GfnSet, SlotT
from pef_kit.core.runs import I64, U64, Mask, run_starts, words_of
from pef_protocol.calls import Reply
from pef_protocol.check_orders import Check
from pef_protocol.codes import Code
from pef_protocol.quantities import PAGE_ORDER
from pef_protocol.runs import CodedRuns


class RefusedBy(IntEnum):
    """What refused a run."""

    LATER = 0
    """The effect of the call: all checks had passed."""
    TABLE = 1
    """The transition table, which is the check `state` of runs."""
    CHECK = 2
    """A check that judges each run, with a function."""


class Refusals:
    """The refused runs of one message, each with its code, in the message's order.

    `order` is the check order of the call. Its checks that judge runs differ in their codes, but for `state`.
    """

    def __init__(self, gpas: U64, counts: U64, order: tuple[Check, ...]) -> None:
        self._gpas = gpas
        self._counts = counts
        self._order = order
        self._rows: list[tuple[I64, U64, I64, Codes, NDArray[np.int8]]] = []
        self.detail = ""

    def add_runs(self, codes: Codes) -> None:
        """Add every whole run whose code is not 0: a check refused it."""
        rows = codes.nonzero()[0]
        if len(rows):
            counts = self._counts[rows].view(np.int64)
            by = np.full(len(rows), RefusedBy.CHECK, np.int8)
            self._rows.append((rows, self._gpas[rows], counts, codes[rows], by))

    def add_pages(self, gfns: GfnSet[SlotT], codes: Codes, *, by_table: Mask | bool = False) -> None:
        """Add the GFNs of `gfns` whose element of `codes` (one per page) is not 0, as sub-runs.

        `by_table` (one bool, or one per page) tells which of them the transition table refused.
        """
        wrong = codes.nonzero()[0]
        if not len(wrong):
            return
        rows = gfns.each_row()[wrong]
        numbers = gfns.each_gfn()[wrong]
        firsts, counts = run_starts(len(wrong), (numbers, 1), (codes[wrong], 0), (rows, 0))
        gpas = numbers[firsts].astype(np.uint64) << np.uint64(PAGE_ORDER)
        # A sub-run may be refused by both: its first page counts.
        by = np.broadcast_to(by_table, codes.shape)[wrong][firsts].astype(np.int8) * np.int8(RefusedBy.TABLE)
        self._rows.append((rows[firsts], gpas, counts, codes[wrong][firsts], by))

    def reply(self, refused_whole: Check | None = None) -> Reply:
        """Return the reply: success if nothing was refused, else code and check of the first refused run.

        The refusal of a message as a whole names no runs: nothing is said of any of them.
        """
        family = type(self._order[0].code)
        if refused_whole or not self._rows:
            code: Code = refused_whole.code if refused_whole else family(0)
            return Reply(code, detail=self.detail, check=refused_whole.name if refused_whole else "")
        rows, gpas, counts, codes, by = (np.concatenate(column) for column in zip(*self._rows, strict=True))
        order = np.lexsort((gpas, rows))
        refused = CodedRuns(words_of(gpas[order], counts[order], codes[order]))
        code = family(int(codes[order[0]]))
        check = self._check_of(code, RefusedBy(by[order[0]]))
        return Reply(code, refused=refused, detail=self.detail, check=check)

    def _check_of(self, code: Code, by: RefusedBy) -> str:
        """Return the name of the check that refused a run with `code`; "" where none did."""
        for check in self._order:
            judges = RefusedBy.TABLE if answered_by_table(check) else RefusedBy.CHECK
            if check.per_run and check.code is code and judges is by:
                return check.name
        return ""
