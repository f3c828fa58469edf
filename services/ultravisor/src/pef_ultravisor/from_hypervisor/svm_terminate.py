"""UV_SVM_TERMINATE: end an SVM, in whatever state it is. Nothing of it is left behind.

A call of the SVM that is open meanwhile finds it gone and ends with an error. Bytes that it has on their way
arrive before this call is answered, for then the normal pages are the Hypervisor's to give to others.

Source: ultravisor.rst, UV_SVM_TERMINATE; decisions, "UV_SVM_TERMINATE".
"""

from dataclasses import dataclass
from typing import Final

from pef_kit.ladder import Ladder
from pef_kit.operations import PATIENCE, Operation, Pause
from pef_protocol import ladders
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.ultracalls import SvmTerminate
from pef_protocol.wire import Caller, Role
from pef_ultravisor.frames import MOVING
from pef_ultravisor.machine import Ultravisor


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
    if refused or svm is None:
        return Reply(refused.code if refused else UCode.U_INVALID)

    # effect
    slots = tuple(svm.slots)
    uv.release(svm)
    for attempt in range(PATIENCE):
        if not any(slot.marked(block, MOVING).any() for slot in slots for block in slot.marked_blocks()):
            break
        yield Pause(attempt)

    # reply
    return Reply(UCode.U_SUCCESS)
