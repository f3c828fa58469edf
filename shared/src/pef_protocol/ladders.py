"""The check ladders of all calls: rungs in documented order, the first that fails gives the code.

A rung judges the whole message or, where `per_run` is set, each run of a paging call by itself: a refused
run changes nothing and leaves the other runs alone. The order of UV_PAGE_IN and UV_PAGE_OUT is the one of
the decisions; the other calls follow its spirit: caller, each argument's form, lpid, VM state, ranges, and
the state of the GFN last.
"""

from dataclasses import dataclass
from typing import Final

from pef_protocol.codes import Code, HCode, UCode


@dataclass(frozen=True, slots=True)
class Rung:
    """One check of a call: its name, the code it answers with, and what it refuses."""

    name: str
    code: Code
    refuses: str
    per_run: bool = False


HYPERVISOR_ONLY: Final = Rung("caller", UCode.U_PERMISSION, "a caller other than the Hypervisor")
VM_KERNEL_ONLY: Final = Rung("caller", UCode.U_PERMISSION, "a caller other than a VM's kernel")
ULTRAVISOR_ONLY: Final = Rung("caller", HCode.H_UNSUPPORTED, "a caller other than the Ultravisor")
SVM_OBJECT: Final = Rung("lpid", UCode.U_PARAMETER, "an lpid that names no SVM")
ABORTED: Final = Rung("aborted", UCode.U_STATE, "an aborted SVM")
SECURE_CALLER: Final = Rung("secure", UCode.U_INVALID, "a VM that is not secure")
STARTED: Final = Rung("started", HCode.H_UNSUPPORTED, "a VM for which H_SVM_INIT_START is not done")

WRITE_PATE: Final = (
    HYPERVISOR_ONLY,
    Rung("dw0", UCode.U_P2, "a partition-scoped table in secure memory"),
    Rung("dw1", UCode.U_P3, "a process table in secure memory"),
    Rung("lpid", UCode.U_PARAMETER, "lpid 0, or one over 12 bits"),
    Rung("svm", UCode.U_PERMISSION, "the entry of an SVM, transient and aborted ones included"),
)
ESM: Final = (
    VM_KERNEL_ONLY,
    Rung("kernel_base", UCode.U_PARAMETER, "a kernel base of 0, or not on a page boundary"),
    Rung("fdt", UCode.U_P2, "a device tree at 0, or not on an 8-byte boundary"),
    Rung("lpid", UCode.U_PARAMETER, "a VM whose partition-table entry was never written"),
    Rung("active", UCode.U_BUSY, "a VM whose UV_ESM is still open"),
    ABORTED,
)
REGISTER_MEM_SLOT: Final = (
    HYPERVISOR_ONLY,
    Rung("start_gpa", UCode.U_P2, "a start that is not on a page boundary"),
    Rung("size", UCode.U_P3, "size 0, a part of a page, a range that wraps or is beyond all memory"),
    Rung("flags", UCode.U_P4, "any flag"),
    Rung("slotid", UCode.U_P5, "a slot id of 512 or more"),
    SVM_OBJECT,
    ABORTED,
    Rung("registered", UCode.U_P5, "a slot id in use"),
    Rung("overlap", UCode.U_P2, "a range that overlaps another slot"),
)
UNREGISTER_MEM_SLOT: Final = (
    HYPERVISOR_ONLY,
    Rung("slotid", UCode.U_P2, "a slot id of 512 or more"),
    SVM_OBJECT,
    Rung("registered", UCode.U_P2, "a slot id that is not in use"),
    Rung("moving", UCode.U_BUSY, "a slot with a GFN in flight, or with measured pages of an open UV_ESM"),
)
PAGE_IN: Final = (
    HYPERVISOR_ONLY,
    Rung("order", UCode.U_P5, "an order other than 16"),
    Rung("flags", UCode.U_P4, "any flag"),
    Rung(
        "ra", UCode.U_P2, "a source that is not whole normal pages, backs another GFN, or is in flight", True
    ),
    SVM_OBJECT,
    Rung("aborted", UCode.U_STATE, "an aborted SVM, but for imported pages that are not shared", True),
    Rung("gpa", UCode.U_P3, "guest pages that do not lie in one slot", True),
    Rung("state", UCode.U_P2, "a GFN whose state does not take a page", True),
)
PAGE_OUT: Final = (
    HYPERVISOR_ONLY,
    Rung("order", UCode.U_P5, "an order other than 16"),
    Rung("flags", UCode.U_P4, "any flag"),
    Rung("ra", UCode.U_P2, "a target that is not whole normal pages, backs a GFN, or is in flight", True),
    SVM_OBJECT,
    Rung("gpa", UCode.U_P3, "guest pages that do not lie in one slot", True),
    Rung("state", UCode.U_PARAMETER, "a GFN that is paged out already", True),
    Rung("aborted", UCode.U_STATE, "an aborted SVM, but for its imported pages", True),
)
PAGE_INVAL: Final = (
    HYPERVISOR_ONLY,
    Rung("order", UCode.U_P3, "an order other than 16"),
    SVM_OBJECT,
    ABORTED,
    Rung("gpa", UCode.U_P2, "guest pages that do not lie in one slot", True),
    Rung("state", UCode.U_P2, "a GFN that is not shared", True),
)
SVM_TERMINATE: Final = (
    HYPERVISOR_ONLY,
    Rung("lpid", UCode.U_PARAMETER, "an lpid that names no VM"),
    Rung("svm", UCode.U_INVALID, "a VM without an SVM object"),
)
SHARE_PAGE: Final = (
    VM_KERNEL_ONLY,
    SECURE_CALLER,
    ABORTED,
    Rung("gfn", UCode.U_PARAMETER, "a frame in no slot"),
    Rung("num", UCode.U_P2, "pages that do not all lie in slots"),
)
UNSHARE_PAGE: Final = (
    *SHARE_PAGE,
    Rung("state", UCode.U_P2, "a page that is implicitly or pseudo-shared"),
)
UNSHARE_ALL_PAGES: Final = (VM_KERNEL_ONLY, SECURE_CALLER, ABORTED)
ESMB_GET_FILE: Final = (
    VM_KERNEL_ONLY,
    SECURE_CALLER,
    ABORTED,
    Rung("name", UCode.U_PARAMETER, "a name that is no attached file's"),
    Rung("offset", UCode.U_PARAMETER, "an offset beyond the file, or before what was handed out"),
)
SVM_INIT_START: Final = (
    ULTRAVISOR_ONLY,
    Rung("lpid", HCode.H_PARAMETER, "an lpid that names no VM"),
    Rung("state", HCode.H_STATE, "a VM that is transient or secure"),
    Rung("secure_memory", HCode.H_UNSUPPORTED, "a host without secure memory"),
    Rung("radix", HCode.H_UNSUPPORTED, "a guest that is not radix"),
    Rung("authority", HCode.H_AUTHORITY, "a VM for which secure guests are not enabled"),
)
SVM_INIT_DONE: Final = (
    ULTRAVISOR_ONLY,
    STARTED,
    Rung("state", HCode.H_STATE, "a VM that is secure, or whose H_SVM_INIT_START failed"),
)
SVM_INIT_ABORT: Final = (
    ULTRAVISOR_ONLY,
    STARTED,
    Rung("state", HCode.H_STATE, "a VM that is secure"),
)
SVM_PAGE_IN: Final = (
    ULTRAVISOR_ONLY,
    STARTED,
    Rung("order", HCode.H_P3, "an order other than 16"),
    Rung("flags", HCode.H_P2, "a flag other than H_PAGE_IN_SHARED"),
    Rung("gpa", HCode.H_PARAMETER, "guest pages that do not lie in one visible slot", True),
    Rung("state", HCode.H_PARAMETER, "a GFN that the Ultravisor holds", True),
)
SVM_PAGE_OUT: Final = (
    ULTRAVISOR_ONLY,
    STARTED,
    Rung("order", HCode.H_P3, "an order other than 16"),
    Rung("flags", HCode.H_P2, "any flag"),
    Rung("gpa", HCode.H_PARAMETER, "guest pages that do not lie in one visible slot", True),
)
