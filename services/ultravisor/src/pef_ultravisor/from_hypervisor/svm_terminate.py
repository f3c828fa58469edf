"""UV_SVM_TERMINATE: end an SVM, in whatever state it is. Nothing of it is left behind.

A call of the SVM that is open meanwhile begins nothing more and ends with an error; it is not waited for.
Bytes are, for with the answer to this call the normal pages are the Hypervisor's to give to others.
The answer names the incarnation that the lpid has now: a message that means an earlier one is late.

Source: ultravisor.rst, UV_SVM_TERMINATE; decisions, "UV_SVM_TERMINATE".
"""

from dataclasses import replace
from itertools import count
from typing import Final

from pef_kit.core.checks import CheckOrder, refuse
from pef_kit.core.effects import Operation, pause
from pef_kit.core.life import Life
from pef_protocol import check_orders
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.http import Caller
from pef_protocol.ultracalls import SvmTerminate
from pef_ultravisor import checks
from pef_ultravisor.checks import HypervisorCall
from pef_ultravisor.state import Svm, Ultravisor

CHECKS: Final = CheckOrder[HypervisorCall[SvmTerminate]](
    check_orders.SVM_TERMINATE,
    {
        "caller": checks.from_hypervisor,
        "lpid": lambda call: call.uv.knows(call.lpid),
        "svm": checks.names_an_svm,
    },
)


def uv_svm_terminate(uv: Ultravisor, caller: Caller, asked: SvmTerminate) -> Operation[Reply]:
    """Answer UV_SVM_TERMINATE."""
    # parameters
    call = HypervisorCall(uv, caller, asked)

    # checks
    refused = CHECKS.first_failing(call)
    if refused and refused.name == "caller":
        return refuse(refused)

    # effect: an SVM of that lpid may have ended, and not be scrubbed yet: the caller waits for that, too
    dying = [svm for svm in uv.dying if svm.lpid == asked.lpid]
    for svm in dying if call.found is None else [*dying, call.found]:
        yield from end_svm(uv, svm)

    # reply
    now = uv.incarnation_of(asked.lpid)
    reply = refuse(refused) if refused else Reply(UCode.U_SUCCESS)
    return replace(reply, outputs={"incarnation": str(now)}) if now else reply


def end_svm(uv: Ultravisor, svm: Svm) -> Operation[None]:
    """End an SVM: its operations begin nothing more; once no byte of it moves, it is scrubbed.

    Nobody's operation is waited for, only bytes. It may be called again while it waits.
    """
    uv.end(svm)
    yield from wait_until_still(svm.life)
    yield from uv.scrub(svm)


def end_epoch(uv: Ultravisor) -> Operation[None]:
    """End the epoch and all its SVMs, scrub them and forget all entries. Who begins the next one sets it."""
    uv.epoch.end()
    for svm in tuple(uv.svms.values()):
        uv.end(svm)
    yield from wait_until_still(uv.epoch)
    for svm in tuple(uv.dying):
        yield from uv.scrub(svm)
    uv.pates.clear()
    for lpid in tuple(uv.incarnations):
        uv.retire(lpid)


def wait_until_still(life: Life) -> Operation[None]:
    """Wait until no byte moves for a life that is over: a thread stops at its next piece."""
    for attempt in count():
        if not life.moving:
            return
        yield from pause(attempt, ignore_deadline=True)
