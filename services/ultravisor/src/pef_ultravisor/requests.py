"""Hypercalls as the Ultravisor makes them: asked with patience, answered with suspicion.

A Hypervisor that is busy is asked again, a bounded number of times; one that is down or talks nonsense has
refused. Either way the caller gets a `Refused` that says what happened, and decides what becomes of the VM.
"""

from typing import Final

from pef_kit.operations import PATIENCE, Operation, Pause, PeerFailure, ask
from pef_protocol.calls import Reply
from pef_protocol.codes import HCode
from pef_protocol.hypercalls import SvmPageIn, SvmPageOut
from pef_protocol.quantities import H_PAGE_IN_SHARED, PAGE_ORDER, Lpid
from pef_protocol.runs import PageRuns

NONSHARED: Final = 0
SHARED: Final = H_PAGE_IN_SHARED


class Refused(Exception):
    """The Hypervisor refused a hypercall, or gave no answer; `code` is None in that case."""

    def __init__(self, call: str, code: HCode | None, detail: str) -> None:
        super().__init__(f"{call}: {detail}")
        self.code = code


def request(name: str, arguments: object) -> Operation[Reply]:
    """Make a hypercall, again while it is answered H_BUSY; raise Refused where it is not done."""
    for attempt in range(PATIENCE):
        try:
            reply = yield from ask(name, arguments)
        except PeerFailure as failure:
            raise Refused(name, None, str(failure)) from None
        if reply.code.succeeded:
            return reply
        if reply.code is not HCode.H_BUSY:
            raise Refused(name, HCode(reply.code), f"{reply.code.name} {reply.detail}".rstrip())
        yield Pause(attempt)
    raise Refused(name, HCode.H_BUSY, f"still H_BUSY after {PATIENCE} tries")


def page_in(lpid: Lpid, runs: PageRuns, flags: int) -> Operation[Reply]:
    """Ask for pages by H_SVM_PAGE_IN, `flags` being NONSHARED or SHARED."""
    return request("H_SVM_PAGE_IN", SvmPageIn(lpid, runs, flags, PAGE_ORDER))


def page_out(lpid: Lpid, runs: PageRuns) -> Operation[Reply]:
    """Ask the Hypervisor to take pages out of secure memory, by H_SVM_PAGE_OUT."""
    return request("H_SVM_PAGE_OUT", SvmPageOut(lpid, runs, 0, PAGE_ORDER))
