"""Which operation answers which ultracall: one row a call, complete by a check at import."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from pef_kit.core.life import OtherIncarnation
from pef_kit.operations import Operation
from pef_protocol.calls import ULTRACALLS, Reply
from pef_protocol.wire import Caller, Role
from pef_ultravisor.from_guest.esm import uv_esm
from pef_ultravisor.from_guest.esmb_get_file import uv_esmb_get_file
from pef_ultravisor.from_guest.share_pages import uv_share_page, uv_unshare_all_pages, uv_unshare_page
from pef_ultravisor.from_hypervisor.memory_slots import uv_register_mem_slot, uv_unregister_mem_slot
from pef_ultravisor.from_hypervisor.page_in import uv_page_in
from pef_ultravisor.from_hypervisor.page_inval import uv_page_inval
from pef_ultravisor.from_hypervisor.page_out import uv_page_out
from pef_ultravisor.from_hypervisor.svm_terminate import uv_svm_terminate
from pef_ultravisor.from_hypervisor.write_pate import uv_write_pate
from pef_ultravisor.leases import no_object, under_lease
from pef_ultravisor.state import Ultravisor

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


def ultracall(uv: Ultravisor, caller: Caller, name: str, asked: Any) -> Operation[Reply]:
    """Return the operation that answers ultracall `name`, under a lease on the SVM that it is about.

    Raise OtherIncarnation where the Hypervisor means another life of that VM than the one that there is now.
    """
    lpid: Any = getattr(asked, "lpid", caller.lpid)
    if caller.role is Role.HYPERVISOR and caller.incarnation not in {None, uv.incarnation_of(lpid)}:
        message = f"lpid {lpid} is {uv.incarnation_of(lpid)}, not {caller.incarnation}"
        raise OtherIncarnation(message)
    svm = None if name in ENDING else uv.svm(lpid)
    return under_lease(uv, svm, HANDLERS[name](uv, caller, asked), partial(no_object, name))


if {call.name for call in ULTRACALLS} != set(HANDLERS):
    message = "the ultracalls that are handled are not those of the call table"
    raise ImportError(message)
