"""The answers by which a peer that is made up refuses a call, or says that it is busy."""

from typing import Final

from pef_protocol.calls import CALLS
from pef_protocol.codes import Code, HCode, UCode

BUSY: Final[dict[bool, Code]] = {True: UCode.U_BUSY, False: HCode.H_BUSY}
REFUSAL: Final[dict[bool, Code]] = {True: UCode.U_PARAMETER, False: HCode.H_PARAMETER}
NO_SUCH_CALL: Final[dict[bool, Code]] = {True: UCode.U_FUNCTION, False: HCode.H_UNSUPPORTED}
"""Codes by whether an ultracall was made."""

BY_NAME: Final[dict[str, Code]] = {
    "UV_SVM_TERMINATE": UCode.U_PERMISSION,
    "UV_UNREGISTER_MEM_SLOT": UCode.U_PERMISSION,
    "H_SVM_INIT_ABORT": HCode.H_STATE,
}
"""Calls of which the usual refusal means that they are done."""


def made_up(name: str, *, busy: bool) -> Code:
    """Return the code of a refusal of call `name`, or of a peer that is busy: one that the call may give.

    Another one is no answer on the wire: who made the call asks for its outcome again.
    """
    call = CALLS[name]
    if busy:
        return BUSY[call.is_ultracall]
    code = BY_NAME.get(name, REFUSAL[call.is_ultracall])
    return code if code in call.codes else NO_SUCH_CALL[call.is_ultracall]
