"""Which operation answers which call, and under which lease: one row per ultracall, complete at import.

Every entry point returns an operation under a lease, so it ends alike whatever drives it: a service, a linked
pair, an explorer. Once its SVM is over it begins nothing more, and answers as if there were none.

Source: rule 10 of ARCHITECTURE.md, "Identity and time".
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar

from pef_kit.core.checks import refuse
from pef_kit.core.effects import Operation
from pef_kit.core.lease import Ended, leased
from pef_kit.core.life import OtherIncarnation
from pef_protocol.calls import ULTRACALLS, Reply
from pef_protocol.codes import UCode
from pef_protocol.http import Caller, Role
from pef_protocol.quantities import Gpa, Lpid
from pef_ultravisor.access import AccessFailure
from pef_ultravisor.from_guest.esm import uv_esm
from pef_ultravisor.from_guest.esmb_get_file import uv_esmb_get_file
from pef_ultravisor.from_guest.load import load
from pef_ultravisor.from_guest.share_page import uv_share_page
from pef_ultravisor.from_guest.store import store
from pef_ultravisor.from_guest.unshare_all_pages import uv_unshare_all_pages
from pef_ultravisor.from_guest.unshare_page import uv_unshare_page
from pef_ultravisor.from_hypervisor.page_in import uv_page_in
from pef_ultravisor.from_hypervisor.page_inval import uv_page_inval
from pef_ultravisor.from_hypervisor.page_out import uv_page_out
from pef_ultravisor.from_hypervisor.register_mem_slot import uv_register_mem_slot
from pef_ultravisor.from_hypervisor.svm_terminate import uv_svm_terminate
from pef_ultravisor.from_hypervisor.unregister_mem_slot import uv_unregister_mem_slot
from pef_ultravisor.from_hypervisor.write_pate import uv_write_pate
from pef_ultravisor.state import Svm, Ultravisor

T = TypeVar("T")
Handler = Callable[[Ultravisor, Caller, Any], Operation[Reply]]

HANDLERS: Final[Mapping[str, Handler]] = {
    "UV_WRITE_PATE": uv_write_pate,
    "UV_ESM": uv_esm,
    "UV_REGISTER_MEM_SLOT": uv_register_mem_slot,
    "UV_UNREGISTER_MEM_SLOT": uv_unregister_mem_slot,
    "UV_PAGE_IN": uv_page_in,
    "UV_PAGE_OUT": uv_page_out,
    "UV_SHARE_PAGE": uv_share_page,
    "UV_UNSHARE_PAGE": uv_unshare_page,
    "UV_PAGE_INVAL": uv_page_inval,
    "UV_SVM_TERMINATE": uv_svm_terminate,
    "UV_UNSHARE_ALL_PAGES": uv_unshare_all_pages,
    "UV_ESMB_GET_FILE": uv_esmb_get_file,
}
ENDING: Final = frozenset({"UV_SVM_TERMINATE"})
"""Calls that end the SVM that they name, and go on after it."""
NO_SVM: Final[Mapping[str, Reply]] = {
    call.name: refuse(next(check for check in call.check_order if check.name in {"lpid", "secure"}))
    for call in ULTRACALLS
} | {"UV_ESM": Reply(UCode.U_STATE)}
"""What each ultracall answers where the SVM that it names has ended. UV_ESM made its own: it failed."""


def ultracall(uv: Ultravisor, caller: Caller, name: str, asked: Any) -> Operation[Reply]:
    """Return the operation that answers ultracall `name`, under a lease on the SVM that it is about.

    Raise OtherIncarnation where the Hypervisor means another life of that VM than the one that there is now.
    """
    lpid: Any = getattr(asked, "lpid", caller.lpid)
    if caller.role is Role.HYPERVISOR and caller.incarnation not in {None, uv.incarnation_of(lpid)}:
        message = f"lpid {lpid} is {uv.incarnation_of(lpid)}, not {caller.incarnation}"
        raise OtherIncarnation(message)
    svm = None if name in ENDING else uv.svm(lpid)
    return under_lease(uv, svm, HANDLERS[name](uv, caller, asked), partial(_no_svm, name))


def guest_load(uv: Ultravisor, lpid: Lpid, gpa: Gpa, length: int) -> Operation[memoryview]:
    """Return the operation that loads `length` bytes at `gpa` for the guest `lpid`, under a lease on it."""
    svm = uv.svm(lpid)
    return under_lease(uv, svm, load(uv, svm, gpa, length), partial(_no_access, gpa))


def guest_store(uv: Ultravisor, lpid: Lpid, gpa: Gpa, content: bytes) -> Operation[None]:
    """Return the operation that stores `content` at `gpa` for the guest `lpid`, under a lease on it."""
    svm = uv.svm(lpid)
    return under_lease(uv, svm, store(uv, svm, gpa, content), partial(_no_access, gpa))


def under_lease(
    uv: Ultravisor, svm: Svm | None, operation: Operation[T], when_over: Callable[[Ended], T]
) -> Operation[T]:
    """Run `operation` for as long as the epoch and `svm` last; once the SVM is over, do as `when_over` says.

    Raise Ended where the epoch is over: nobody is left who could be answered.
    """
    lives = (uv.epoch,) if svm is None else (uv.epoch, svm.life)
    try:
        return (yield from leased(operation, *lives))
    except Ended as ended:
        if svm is None or ended.life is not svm.life:
            raise
        return when_over(ended)


def _no_svm(name: str, ended: Ended) -> Reply:
    return replace(NO_SVM[name], detail=str(ended))


def _no_access(gpa: Gpa, ended: Ended) -> Any:
    raise AccessFailure(str(ended), gpa) from None


if {call.name for call in ULTRACALLS} != set(HANDLERS):
    message = "the ultracalls that are handled are not those of the call table"
    raise ImportError(message)
