"""UV_WRITE_PATE: set a partition's table entry.

Source: ultravisor.rst, UV_WRITE_PATE; decisions, "UV_WRITE_PATE on an SVM".
"""

from typing import Final

from pef_kit.core.checks import CheckOrder, refuse
from pef_kit.core.effects import Operation
from pef_protocol import check_orders
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.http import Caller
from pef_protocol.ultracalls import WritePate
from pef_ultravisor import checks
from pef_ultravisor.checks import HypervisorCall
from pef_ultravisor.memory.normal_pages import table_in_normal_memory
from pef_ultravisor.state import Ultravisor

LPIDS: Final = 1 << 12

CHECKS: Final = CheckOrder[HypervisorCall[WritePate]](
    check_orders.WRITE_PATE,
    {
        "caller": checks.from_hypervisor,
        "dw0": lambda call: table_in_normal_memory(call.asked.dw0),
        "dw1": lambda call: table_in_normal_memory(call.asked.dw1),
        "lpid": lambda call: 0 < call.lpid < LPIDS,
        "svm": lambda call: call.found is None,
    },
)


def uv_write_pate(uv: Ultravisor, caller: Caller, asked: WritePate) -> Operation[Reply]:
    """Answer UV_WRITE_PATE. Both double words 0 take the VM away."""
    # parameters
    call = HypervisorCall(uv, caller, asked)
    entry = asked.dw0, asked.dw1

    # checks
    refused = CHECKS.first_failing(call)
    if refused:
        return refuse(refused)

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
