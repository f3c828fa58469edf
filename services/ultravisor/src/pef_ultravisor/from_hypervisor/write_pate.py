"""UV_WRITE_PATE: set a partition's table entry.

Source: ultravisor.rst, UV_WRITE_PATE; decisions, "UV_WRITE_PATE on an SVM".
"""

from dataclasses import dataclass
from typing import Final

from pef_kit.ladder import Ladder
from pef_kit.operations import Operation
from pef_protocol import ladders
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.ultracalls import WritePate
from pef_protocol.wire import Caller, Role
from pef_ultravisor.memory.normal_pages import table_in_normal_memory
from pef_ultravisor.state import Ultravisor

LPIDS: Final = 1 << 12


@dataclass(frozen=True, slots=True)
class Writing:
    """UV_WRITE_PATE as it is checked."""

    uv: Ultravisor
    caller: Caller
    asked: WritePate


LADDER: Final = Ladder[Writing](
    ladders.WRITE_PATE,
    {
        "caller": lambda call: call.caller.role is Role.HYPERVISOR,
        "dw0": lambda call: table_in_normal_memory(call.asked.dw0),
        "dw1": lambda call: table_in_normal_memory(call.asked.dw1),
        "lpid": lambda call: 0 < call.asked.lpid < LPIDS,
        "svm": lambda call: call.uv.svm(call.asked.lpid) is None,
    },
)


def uv_write_pate(uv: Ultravisor, caller: Caller, asked: WritePate) -> Operation[Reply]:
    """Answer UV_WRITE_PATE. Both double words 0 take the VM away."""
    # parameters
    entry = asked.dw0, asked.dw1

    # checks
    refused = LADDER.climb(Writing(uv, caller, asked))
    if refused:
        return Reply(refused.code)

    # effect
    if not any(entry):
        uv.pates.pop(asked.lpid, None)
        uv.retire(asked.lpid)
    else:
        if asked.lpid not in uv.pates:
            uv.renew(asked.lpid)
        uv.pates[asked.lpid] = entry

    # reply
    yield from ()
    return Reply(UCode.U_SUCCESS)
