"""UV_UNREGISTER_MEM_SLOT: guest memory is taken from an SVM, and scrubbed.

Source: ultravisor.rst, UV_UNREGISTER_MEM_SLOT; decisions, "slot calls".
"""

from typing import Final

from pef_kit.core.checks import CheckOrder, refuse
from pef_kit.core.effects import Operation
from pef_protocol import check_orders
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.http import Caller
from pef_protocol.states import UvVmState
from pef_protocol.ultracalls import UnregisterMemSlot
from pef_ultravisor import checks
from pef_ultravisor.checks import SlotCall
from pef_ultravisor.state import Ultravisor

Call = SlotCall[UnregisterMemSlot]


def may_go(call: Call) -> bool:
    """Pass a slot of which no GFN is in flight, and of which no open UV_ESM has measured pages."""
    if call.located is None:
        return False
    measured = call.is_in(UvVmState.ACTIVE) and call.located.imported > 0
    return not measured and not call.located.calls_in_flight


CHECKS: Final = CheckOrder[Call](
    check_orders.UNREGISTER_MEM_SLOT,
    {
        "caller": checks.from_hypervisor,
        "slotid": checks.slot_id_is_known,
        "lpid": checks.names_an_svm,
        "registered": lambda call: call.located is not None,
        "moving": may_go,
    },
)


def uv_unregister_mem_slot(uv: Ultravisor, caller: Caller, asked: UnregisterMemSlot) -> Operation[Reply]:
    """Answer UV_UNREGISTER_MEM_SLOT."""
    # parameters
    call = Call(uv, caller, asked)

    # checks
    refused = CHECKS.first_failing(call)
    if refused:
        return refuse(refused)

    # effect
    yield from uv.release_slot(call.svm, call.slot)

    # reply
    return Reply(UCode.U_SUCCESS)
