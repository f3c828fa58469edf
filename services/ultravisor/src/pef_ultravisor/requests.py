"""Hypercalls as the Ultravisor makes them: asked with patience, answered with suspicion.

A Hypervisor that is busy is asked again, a bounded number of times; one that is down or talks nonsense has
refused. Either way the caller gets a `Refused` that says what happened, and decides what becomes of the VM.
"""

from dataclasses import replace
from typing import Final

import numpy as np

from pef_kit.operations import PATIENCE, Operation, Pause, PeerFailure, ask
from pef_kit.spans import I64, columns_of, spread, words_of
from pef_protocol.calls import Reply
from pef_protocol.codes import HCode
from pef_protocol.hypercalls import SvmPageIn, SvmPageOut
from pef_protocol.quantities import H_PAGE_IN_SHARED, PAGE_ORDER, PAGE_SIZE, Lpid
from pef_protocol.runs import PageRuns

NONSHARED: Final = 0
SHARED: Final = H_PAGE_IN_SHARED


class Refused(Exception):
    """The Hypervisor refused a hypercall, or gave no answer; `code` is None in that case.

    `runs` are those of a paging call that were not done; None where nobody knows.
    """

    def __init__(self, call: str, code: HCode | None, detail: str, runs: PageRuns | None = None) -> None:
        super().__init__(f"{call}: {detail}")
        self.code = code
        self.runs = runs


def request(name: str, arguments: object) -> Operation[Reply]:
    """Make a hypercall, again while it is answered H_BUSY; raise Refused where it is not done.

    Of a paging call only what was refused is asked for again: the rest is done, and asking twice is an error.
    """
    runs: PageRuns | None = None
    for attempt in range(PATIENCE):
        try:
            reply = yield from ask(name, arguments)
        except PeerFailure as failure:
            raise Refused(name, None, str(failure)) from None
        if reply.code.succeeded:
            return reply
        arguments = what_is_left(arguments, reply)
        runs = getattr(arguments, "runs", None)
        if reply.code is not HCode.H_BUSY:
            raise Refused(name, HCode(reply.code), f"{reply.code.name} {reply.detail}".rstrip(), runs)
        yield Pause(attempt)
    raise Refused(name, HCode.H_BUSY, f"still H_BUSY after {PATIENCE} tries", runs)


def what_is_left(arguments: object, reply: Reply) -> object:
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


def page_in(lpid: Lpid, runs: PageRuns, flags: int) -> Operation[Reply]:
    """Ask for pages by H_SVM_PAGE_IN, `flags` being NONSHARED or SHARED."""
    return request("H_SVM_PAGE_IN", SvmPageIn(lpid, runs, flags, PAGE_ORDER))


def page_out(lpid: Lpid, runs: PageRuns) -> Operation[Reply]:
    """Ask the Hypervisor to take pages out of secure memory, by H_SVM_PAGE_OUT."""
    return request("H_SVM_PAGE_OUT", SvmPageOut(lpid, runs, 0, PAGE_ORDER))
