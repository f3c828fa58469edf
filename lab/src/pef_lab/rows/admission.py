"""What is asked before any row is played: whether this is the subject, and whether it takes the tokens.

Nothing of what is asked changes anything: calls that do not exist, a read of no bytes, an observer's view.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import httpx

from pef_lab.failures import Unanswered, WrongInput
from pef_lab.rows.doors import HYPERVISOR, OBSERVER, ULTRAVISOR, VMM, Doors, Who, kernel_of
from pef_protocol.http import HYPERCALL_PATH, OBSERVER_PATH, PROBLEM, ULTRACALL_PATH, VMM_PATH

READY: Final = "/readyz"
REFUSED: Final = frozenset({httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN})
NOT_YET: Final = httpx.codes.SERVICE_UNAVAILABLE
ANSWERING: Final = 5.0
"""Seconds that each of these answers may take."""
STEP: Final = 0.05


class Probe(NamedTuple):
    """A request of a caller that changes nothing, and the variable that its token comes from."""

    who: Who
    method: str
    path: str
    variable: str


NO_ULTRACALL: Final = ULTRACALL_PATH + "UV_NO_SUCH_CALL"
NO_HYPERCALL: Final = HYPERCALL_PATH + "H_NO_SUCH_CALL"
DIGEST: Final = OBSERVER_PATH + "digest"
NO_BYTES: Final = VMM_PATH + "vms/0/read?gpa=0&length=0"

PROBES: Final[Mapping[str, Sequence[Probe]]] = {
    "Ultravisor": (
        Probe(HYPERVISOR, "POST", NO_ULTRACALL, "PEF_HYPERVISOR_TOKEN"),
        Probe(kernel_of(1), "POST", NO_ULTRACALL, "PEF_ULTRAVISOR_GUEST_KEY"),
        Probe(OBSERVER, "GET", DIGEST, "PEF_OBSERVER_TOKEN"),
    ),
    "Hypervisor": (
        Probe(ULTRAVISOR, "POST", NO_HYPERCALL, "PEF_ULTRAVISOR_TOKEN"),
        Probe(kernel_of(1), "POST", NO_HYPERCALL, "PEF_HYPERVISOR_GUEST_KEY"),
        Probe(VMM, "POST", NO_BYTES, "PEF_VMM_TOKEN"),
        Probe(OBSERVER, "GET", DIGEST, "PEF_OBSERVER_TOKEN"),
    ),
}
"""What each side is asked, by the side's name."""


async def admit(sides: Sequence[Doors]) -> None:
    """Raise WrongInput where a URL is not a subject's, or a subject refuses a token."""
    for side in sides:
        await _be_ready(side)
        for probe in PROBES[side.name]:
            if probe.who is not OBSERVER or side.can_be_observed:
                await _be_taken(side, probe)


async def _be_ready(side: Doors) -> None:
    try:
        async with asyncio.timeout(ANSWERING):
            answer = await side.ask(OBSERVER, "GET", READY)
            while answer.status_code == NOT_YET and answer.headers.get("content-type", "") == PROBLEM:
                await asyncio.sleep(STEP)  # one that has not said hello to us yet
                answer = await side.ask(OBSERVER, "GET", READY)
    except TimeoutError:
        reason = f"{READY} is not answered within {ANSWERING:g} s"
    except Unanswered as silence:
        reason = str(silence)
    else:
        kind = answer.headers.get("content-type", "")
        if answer.status_code == httpx.codes.OK and "html" not in kind:
            return
        reason = f"{READY} answers HTTP status {answer.status_code}" + (f", {kind}" if kind else "")
    raise WrongInput(f"{side.url}: no {side.name} is ready there: {reason}")


async def _be_taken(side: Doors, probe: Probe) -> None:
    """Raise WrongInput where a token is refused; any other answer, or none, is a matter of the rows.

    A side without an observer's view is none that could be looked at: rows infer.
    """
    try:
        async with asyncio.timeout(ANSWERING):
            answer = await side.ask(probe.who, probe.method, probe.path)
    except (TimeoutError, Unanswered):
        return
    if answer.status_code in REFUSED:
        what = f"HTTP status {answer.status_code} to {probe.method} {probe.path}"
        raise WrongInput(f"the {side.name} refuses the token from {probe.variable}: {what}")
    if probe.who is OBSERVER:
        side.has_view = answer.status_code != httpx.codes.NOT_FOUND
