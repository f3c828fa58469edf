"""UV_SVM_TERMINATE: end an SVM, in whatever state it is. Nothing of it is left behind.

A call of the SVM that is open meanwhile begins nothing more and ends with an error; it is not waited for.
Bytes are, for with the answer to this call the normal pages are the Hypervisor's to give to others.
The answer names the incarnation that the lpid has now: what means one before is late, whoever asks it.

Source: ultravisor.rst, UV_SVM_TERMINATE; decisions, "UV_SVM_TERMINATE".
"""

from dataclasses import dataclass
from typing import Final

from pef_kit.ladder import Ladder
from pef_kit.operations import Operation
from pef_protocol import ladders
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.ultracalls import SvmTerminate
from pef_protocol.wire import Caller, Role
from pef_ultravisor.leases import end_svm
from pef_ultravisor.state import Ultravisor


@dataclass(frozen=True, slots=True)
class Termination:
    """UV_SVM_TERMINATE as it is checked."""

    uv: Ultravisor
    caller: Caller
    asked: SvmTerminate


LADDER: Final = Ladder[Termination](
    ladders.SVM_TERMINATE,
    {
        "caller": lambda call: call.caller.role is Role.HYPERVISOR,
        "lpid": lambda call: call.uv.knows(call.asked.lpid),
        "svm": lambda call: call.uv.svm(call.asked.lpid) is not None,
    },
)


def uv_svm_terminate(uv: Ultravisor, caller: Caller, asked: SvmTerminate) -> Operation[Reply]:
    """Answer UV_SVM_TERMINATE."""
    # parameters
    svm = uv.svm(asked.lpid)

    # checks
    refused = LADDER.climb(Termination(uv, caller, asked))
    if refused and refused.name == "caller":
        return Reply(refused.code)

    # effect
    dying = [each for each in uv.dying if each.lpid == asked.lpid]
    for each in dying if svm is None else [*dying, svm]:
        yield from end_svm(uv, each)

    # reply
    now = uv.incarnation_of(asked.lpid)
    return Reply(refused.code if refused else UCode.U_SUCCESS, {"incarnation": str(now)} if now else {})
