"""The faults that may happen to a message, and the answer of a peer that refuses one."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from pef_explorer.plan import Delivery
from pef_kit.core.effects import PeerCall
from pef_lab.refusing import made_up
from pef_protocol.calls import Reply
from pef_protocol.runs import CodedRuns


class Fault(StrEnum):
    """What may happen to a request on its way, or to the answer to it.

    | fault | of | what happens |
    |---|---|---|
    | `REFUSED`, `BUSY` | a request | the peer answers so, with nothing done |
    | `DOUBLED`, `LOST` | a request of a peer without slots | it acts twice; nobody knows whether it acted |
    | `KEPT` | a request | it arrives, and the network keeps a copy that may arrive at any time |
    | `ANSWER_LOST` | an answer | nobody reads it, and the request is sent again under its number |
    """

    REFUSED = "refused"
    BUSY = "busy"
    DOUBLED = "doubled"
    LOST = "lost"
    KEPT = "kept"
    ANSWER_LOST = "its answer is lost"


OF_A_PEER: Final = {
    Delivery.ONCE: (Fault.REFUSED, Fault.BUSY),
    Delivery.UNRELIABLE: (Fault.REFUSED, Fault.BUSY, Fault.DOUBLED, Fault.LOST),
}
"""What may happen to a request of a peer without slots, by how the wire carries it."""


def refusal(ask: PeerCall, fault: Fault) -> Reply:
    """Return the answer of a peer that refuses a call, each of its runs, or that is busy."""
    code = made_up(ask.name, busy=fault is Fault.BUSY)
    runs: Iterable[tuple[int, ...]] = () if fault is Fault.BUSY else getattr(ask.request, "runs", ())
    return Reply(code, refused=CodedRuns.from_rows((*run[-2:], code) for run in runs))
