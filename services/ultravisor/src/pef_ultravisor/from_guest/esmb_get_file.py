"""UV_ESMB_GET_FILE: an SVM reads a file attached to its ESM blob, 64 bytes per call, from front to back.

A file can be read once: what was handed out, or passed over, is zeroed and not handed out again.

Source: specification of the Ultravisor, 1.4, minus defects D3 and D4.
"""

from typing import Final

from pef_kit.core.checks import CheckOrder, refuse
from pef_kit.core.effects import Operation
from pef_protocol import check_orders
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.http import Caller
from pef_protocol.ultracalls import EsmbGetFile
from pef_ultravisor import checks
from pef_ultravisor.checks import GuestCall
from pef_ultravisor.state import Ultravisor

BYTES_A_CALL: Final = 64
"""What fits the eight output registers."""

Call = GuestCall[EsmbGetFile]


def is_attached(call: Call) -> bool:
    """Pass the name of a file that is attached."""
    return call.found is not None and call.asked.name in call.found.files


def goes_on(call: Call) -> bool:
    """Pass an offset within the file, its end included, that does not go back."""
    svm, name, offset = call.found, call.asked.name, call.asked.offset
    return svm is not None and svm.handed_out.get(name, 0) <= offset <= len(svm.files[name])


CHECKS: Final = CheckOrder[Call](
    check_orders.ESMB_GET_FILE, {**checks.SECURE_ONLY, "name": is_attached, "offset": goes_on}
)


def uv_esmb_get_file(uv: Ultravisor, caller: Caller, asked: EsmbGetFile) -> Operation[Reply]:
    """Answer UV_ESMB_GET_FILE: outputs `count` (0 at the end) and `bytes` (hexadecimal)."""
    # parameters
    call = Call(uv, caller, asked)

    # checks
    refused = CHECKS.first_failing(call)
    if refused:
        return refuse(refused)
    svm = call.svm

    # effect
    file, begun = svm.files[asked.name], svm.handed_out.get(asked.name, 0)
    part = bytes(file[asked.offset : asked.offset + BYTES_A_CALL])
    end = svm.handed_out[asked.name] = asked.offset + len(part)
    file[begun:end] = bytes(end - begun)

    # reply
    yield from ()
    return Reply(UCode.U_SUCCESS, {"count": len(part), "bytes": part.hex()})
