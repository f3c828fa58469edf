"""The one table of calls: number, who may call, arguments, check orders, codes, source.

Both services make their routes from it, the lab its rows, the documentation its reference. What a call
*does* is not here: that is its side's own business.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Final

from pef_protocol import check_orders, hypercalls, ultracalls
from pef_protocol.check_orders import Check
from pef_protocol.codes import Code, HCode, UCode
from pef_protocol.http import Role
from pef_protocol.runs import CodedRuns, PageRuns, PlacedRuns


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the protocol.

    `later` are the codes that a call may give once its check order is passed; `codes` is all that it may
    give, so the caller can tell an answer from an impossible one.
    """

    name: str
    number: int
    callers: frozenset[Role]
    request: type
    check_order: tuple[Check, ...]
    later: tuple[Code, ...]
    source: str

    @property
    def is_ultracall(self) -> bool:
        """Tell whether the Ultravisor answers this call, rather than the Hypervisor."""
        return self.name.startswith("UV_")

    @property
    def success(self) -> Code:
        """Return the code of success."""
        return UCode.U_SUCCESS if self.is_ultracall else HCode.H_SUCCESS

    @property
    def codes(self) -> frozenset[Code]:
        """Return every code that this call may answer with, at whatever Ultravisor it is made."""
        own = frozenset({self.success, *self.later, *(check.code for check in self.check_order)})
        return own | self.elsewhere

    @property
    def elsewhere(self) -> frozenset[Code]:
        """Return the codes that the document knows for this call although ours never gives them.

        An Ultravisor may lack any ultracall, and may be too busy for each call of the Hypervisor.
        """
        if not self.is_ultracall:
            return frozenset()
        return frozenset({UCode.U_FUNCTION} | ({UCode.U_BUSY} if Role.HYPERVISOR in self.callers else set()))

    @property
    def arguments(self) -> tuple[str, ...]:
        """Return the names of the arguments, in order."""
        return tuple(argument.name for argument in fields(self.request))

    @property
    def runs(self) -> type[PageRuns | PlacedRuns] | None:
        """Return the kind of runs that the call carries, or None."""
        kinds: dict[str, Any] = {argument.name: argument.type for argument in fields(self.request)}
        return kinds.get("runs")


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a call: its code, its outputs, and the runs that were refused, with their codes.

    Runs that are not listed in `refused` were done. `detail` is for people: it names what failed, never
    what a secure page holds. `check` names the check of the call that refused; empty where none did.
    """

    code: Code
    outputs: Mapping[str, int | str] = field(default_factory=lambda: MappingProxyType({}))
    refused: CodedRuns = field(default_factory=CodedRuns)
    detail: str = ""
    check: str = ""


_HYPERVISOR: Final = frozenset({Role.HYPERVISOR})
_ULTRAVISOR: Final = frozenset({Role.ULTRAVISOR})
_GUEST: Final = frozenset({Role.GUEST})
_DOC: Final = "ultravisor.rst"

CALLS: Final[Mapping[str, Call]] = MappingProxyType(
    {
        call.name: call
        for call in (
            Call("UV_WRITE_PATE", 0xF104, _HYPERVISOR, ultracalls.WritePate, check_orders.WRITE_PATE,
                 (), f"{_DOC} UV_WRITE_PATE"),
            Call("UV_ESM", 0xF110, _GUEST, ultracalls.Esm, check_orders.ESM,
                 (UCode.U_PERMISSION, UCode.U_RETRY, UCode.U_NO_KEY, UCode.U_STATE),
                 f"{_DOC} UV_ESM; firmware, UV_ESM step by step"),
            Call("UV_REGISTER_MEM_SLOT", 0xF120, _HYPERVISOR, ultracalls.RegisterMemSlot,
                 check_orders.REGISTER_MEM_SLOT, (UCode.U_RETRY, UCode.U_BUSY),
                 f"{_DOC} UV_REGISTER_MEM_SLOT"),
            Call("UV_UNREGISTER_MEM_SLOT", 0xF124, _HYPERVISOR, ultracalls.UnregisterMemSlot,
                 check_orders.UNREGISTER_MEM_SLOT, (), f"{_DOC} UV_UNREGISTER_MEM_SLOT"),
            Call("UV_PAGE_IN", 0xF128, _HYPERVISOR, ultracalls.PageIn, check_orders.PAGE_IN,
                 (UCode.U_P3, UCode.U_BUSY, UCode.U_RETRY), f"{_DOC} UV_PAGE_IN"),
            Call("UV_PAGE_OUT", 0xF12C, _HYPERVISOR, ultracalls.PageOut, check_orders.PAGE_OUT,
                 (UCode.U_BUSY,), f"{_DOC} UV_PAGE_OUT"),
            Call("UV_SHARE_PAGE", 0xF130, _GUEST, ultracalls.SharePage, check_orders.SHARE_PAGE,
                 (UCode.U_P2, UCode.U_BUSY), f"{_DOC} UV_SHARE_PAGE"),
            Call("UV_UNSHARE_PAGE", 0xF134, _GUEST, ultracalls.UnsharePage, check_orders.UNSHARE_PAGE,
                 (UCode.U_P2, UCode.U_BUSY), f"{_DOC} UV_UNSHARE_PAGE"),
            Call("UV_PAGE_INVAL", 0xF138, _HYPERVISOR, ultracalls.PageInval, check_orders.PAGE_INVAL,
                 (UCode.U_BUSY,), f"{_DOC} UV_PAGE_INVAL"),
            Call("UV_SVM_TERMINATE", 0xF13C, _HYPERVISOR, ultracalls.SvmTerminate,
                 check_orders.SVM_TERMINATE, (), f"{_DOC} UV_SVM_TERMINATE"),
            Call("UV_UNSHARE_ALL_PAGES", 0xF140, _GUEST, ultracalls.UnshareAllPages,
                 check_orders.UNSHARE_ALL_PAGES, (UCode.U_RETRY, UCode.U_BUSY),
                 f"{_DOC} UV_UNSHARE_ALL_PAGES"),
            Call("UV_ESMB_GET_FILE", 0xF14C, _GUEST, ultracalls.EsmbGetFile, check_orders.ESMB_GET_FILE,
                 (), "firmware, UV_ESMB_GET_FILE"),
            Call("H_SVM_PAGE_IN", 0xEF00, _ULTRAVISOR, hypercalls.SvmPageIn, check_orders.SVM_PAGE_IN,
                 (HCode.H_PARAMETER, HCode.H_BUSY), f"{_DOC} H_SVM_PAGE_IN"),
            Call("H_SVM_PAGE_OUT", 0xEF04, _ULTRAVISOR, hypercalls.SvmPageOut, check_orders.SVM_PAGE_OUT,
                 (HCode.H_PARAMETER, HCode.H_BUSY), f"{_DOC} H_SVM_PAGE_OUT"),
            Call("H_SVM_INIT_START", 0xEF08, _ULTRAVISOR, hypercalls.SvmInitStart,
                 check_orders.SVM_INIT_START, (HCode.H_PARAMETER, HCode.H_BUSY), f"{_DOC} H_SVM_INIT_START"),
            Call("H_SVM_INIT_DONE", 0xEF0C, _ULTRAVISOR, hypercalls.SvmInitDone,
                 check_orders.SVM_INIT_DONE, (HCode.H_STATE, HCode.H_BUSY), f"{_DOC} H_SVM_INIT_DONE"),
            Call("H_SVM_INIT_ABORT", 0xEF14, _ULTRAVISOR, hypercalls.SvmInitAbort,
                 check_orders.SVM_INIT_ABORT, (HCode.H_PARAMETER, HCode.H_STATE, HCode.H_BUSY),
                 f"{_DOC} H_SVM_INIT_ABORT"),
        )
    }
)  # fmt: skip
"""Every call that is answered by more than U_FUNCTION or H_FUNCTION, by name."""

ULTRACALLS: Final = tuple(call for call in CALLS.values() if call.is_ultracall)
HYPERCALLS: Final = tuple(call for call in CALLS.values() if not call.is_ultracall)
