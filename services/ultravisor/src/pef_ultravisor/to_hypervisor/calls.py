"""Hypercalls as the Ultravisor makes them: answered with suspicion.

| outcome | raised | what it means |
|---|---|---|
| H_BUSY | `Busy` | nothing done: who holds anything lets go of it, pauses, and tries again |
| any other refusal, by code or as a message | `Refused` | definite |
| none can be had | `NoOutcome` | the SVM is aborted: giving a call up ends what it was for |

A message that was lost is the transport's business. It is asked again there, and comes back with an outcome.

Source: rules 7 to 9 of ARCHITECTURE.md, "Identity and time".
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count, pairwise
from typing import Final

import numpy as np

from pef_kit.core.effects import Operation, PeerFailure, ask, pause
from pef_kit.core.runs import I64, columns_of, pages_in, spread, words_of
from pef_protocol.calls import Reply
from pef_protocol.codes import HCode
from pef_protocol.http import PAGES_AT_ONCE, RUNS_AT_ONCE
from pef_protocol.hypercalls import SvmPageIn, SvmPageOut
from pef_protocol.quantities import H_PAGE_IN_FAULT, H_PAGE_IN_SHARED, PAGE_ORDER, PAGE_SIZE
from pef_protocol.runs import PageRuns
from pef_protocol.states import UvVmState
from pef_ultravisor.state import Svm

NONSHARED: Final = 0
SHARED: Final = H_PAGE_IN_SHARED
FAULT: Final = H_PAGE_IN_FAULT


class Refused(Exception):
    """The Hypervisor refused a hypercall; `code` is None where it refused the message, not the call.

    `left` is the call with what was not done: of a paging call the runs that were refused.
    """

    def __init__(self, call: str, code: HCode | None, detail: str, left: object = None) -> None:
        super().__init__(f"{call}: {detail}")
        self.code = code
        self.left = left

    @property
    def runs(self) -> PageRuns | None:
        """Return the runs of a paging call that were not done."""
        return getattr(self.left, "runs", None)


class Busy(Refused):
    """The Hypervisor said H_BUSY."""


class NoOutcome(Refused):
    """Nobody can say what became of a hypercall. The SVM that it was for is aborted by now."""


def request_once(
    svm: Svm, name: str, arguments: object, *, ignore_deadline: bool = False
) -> Operation[Reply]:
    """Make a hypercall for `svm` and return the reply of its success; raise Refused else.

    `ignore_deadline`: it is made also once time is over.
    """
    try:
        reply = yield from ask(name, arguments, ignore_deadline=ignore_deadline)
    except PeerFailure as failure:
        if failure.done is not None:
            raise Refused(name, None, str(failure), arguments) from None
        svm.state = UvVmState.ABORT
        raise NoOutcome(name, None, str(failure), arguments) from None
    if reply.code.succeeded:
        return reply
    busy = reply.code is HCode.H_BUSY
    reported = f"{reply.code.name} {reply.detail}".rstrip()
    raise (Busy if busy else Refused)(name, HCode(reply.code), reported, what_remains(arguments, reply))


def request(svm: Svm, name: str, arguments: object, *, ignore_deadline: bool = False) -> Operation[Reply]:
    """Make a hypercall, again while it is answered H_BUSY and there is time (`ignore_deadline`: always).

    Order: only by those who hold nothing that others may wait for, or who undo what they hold.

    Of a paging call only what was refused is asked for again: the rest is done, and asking twice is an error.
    """
    for attempt in count():
        try:
            return (yield from request_once(svm, name, arguments, ignore_deadline=ignore_deadline))
        except Busy as busy:
            if not (yield from pause(attempt, ignore_deadline=ignore_deadline)):
                raise
            arguments = busy.left
    raise AssertionError


def what_remains(arguments: object, reply: Reply) -> object:
    """Return a call with the runs that were refused; the same call where it has none.

    Trust: runs that were never asked for are no answer, and then all of them count as refused.
    """
    if not isinstance(arguments, SvmPageIn | SvmPageOut) or not len(reply.refused):
        return arguments
    asked = pages_of(arguments.runs)
    gpas, counts, _ = columns_of(reply.refused)
    if (counts > len(asked)).any() or int(counts.sum()) > len(asked):
        return arguments
    refused = PageRuns(words_of(gpas, counts))
    return replace(arguments, runs=refused) if np.isin(pages_of(refused), asked).all() else arguments


def pages_of(runs: PageRuns) -> I64:
    """Return the guest address of every page of `runs` (bytes, int64)."""
    gpas, counts = columns_of(runs)
    return spread(gpas.view(np.int64), counts.view(np.int64), PAGE_SIZE)


def page_in(svm: Svm, runs: PageRuns, flags: int, *, ignore_deadline: bool = False) -> Operation[None]:
    """Ask once for pages by H_SVM_PAGE_IN; `ignore_deadline`: at any time.

    `flags`: NONSHARED, SHARED, or FAULT where a guest's fault is reflected.
    """
    calls = [SvmPageIn(svm.lpid, some, flags, PAGE_ORDER) for some in messages(runs)]
    return _in_turn(svm, "H_SVM_PAGE_IN", calls, ignore_deadline=ignore_deadline)


def page_out(svm: Svm, runs: PageRuns, *, ignore_deadline: bool = False) -> Operation[None]:
    """Ask the Hypervisor once to take pages out, by H_SVM_PAGE_OUT; `ignore_deadline`: at any time."""
    calls = [SvmPageOut(svm.lpid, some, 0, PAGE_ORDER) for some in messages(runs)]
    return _in_turn(svm, "H_SVM_PAGE_OUT", calls, ignore_deadline=ignore_deadline)


def _in_turn(
    svm: Svm, name: str, calls: Sequence[SvmPageIn | SvmPageOut], *, ignore_deadline: bool
) -> Operation[None]:
    """Make calls one after the other; raise Refused at the first that is not done, for all that were not."""
    for place, call in enumerate(calls):
        try:
            yield from request_once(svm, name, call, ignore_deadline=ignore_deadline)
        except Refused as refusal:
            if refusal.runs is not None:
                words = [refusal.runs.words, *(later.runs.words for later in calls[place + 1 :])]
                refusal.left = replace(call, runs=PageRuns(b"".join(words)))
            raise


def messages(runs: PageRuns) -> list[PageRuns]:
    """Cut runs, which overlap nowhere, into messages with as many runs and pages as one may have."""
    if len(runs) <= RUNS_AT_ONCE and pages_in(runs) <= PAGES_AT_ONCE:
        return [runs]
    gpas, counts = (column.view(np.int64) for column in columns_of(runs))
    # Cut each run where the pages before it and its own reach a whole message.
    ends = np.cumsum(counts)
    edges = np.union1d(ends, np.arange(PAGES_AT_ONCE, int(ends[-1]), PAGES_AT_ONCE))
    starts = np.concatenate([[0], edges[:-1]])
    of_run = np.searchsorted(ends, starts, side="right")
    gpas = gpas[of_run] + (starts - (ends - counts)[of_run]) * PAGE_SIZE
    counts = edges - starts
    number = starts // PAGES_AT_ONCE
    first_of = np.searchsorted(number, number)
    number = number * (PAGES_AT_ONCE // RUNS_AT_ONCE) + (np.arange(len(number)) - first_of) // RUNS_AT_ONCE
    cuts = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(number)]
    return [PageRuns(words_of(gpas[start:end], counts[start:end])) for start, end in pairwise(cuts)]
