"""The check orders of all calls: checks in documented order, the first that fails gives the code.

A check judges the whole message or, where `per_run` is set, each run of a paging call by itself: a refused
run changes nothing and leaves the other runs alone. The order of UV_PAGE_IN and UV_PAGE_OUT is the one of
the decisions; the other calls follow its spirit: caller, each argument's form, lpid, VM state, ranges, and
the state of the GFN last.
"""

from dataclasses import dataclass
from typing import Final

from pef_protocol.codes import Code, HCode, UCode


@dataclass(frozen=True, slots=True)
class Check:
    """One check of a call: its name, the code it answers with, and what it refuses."""

    name: str
    code: Code
    refuses: str
    per_run: bool = False


HYPERVISOR_ONLY: Final = Check("caller", UCode.U_PERMISSION, "a caller other than the Hypervisor")
VM_KERNEL_ONLY: Final = Check("caller", UCode.U_PERMISSION, "a caller other than a VM's kernel")
ULTRAVISOR_ONLY: Final = Check("caller", HCode.H_UNSUPPORTED, "a caller other than the Ultravisor")
SVM_OBJECT: Final = Check("lpid", UCode.U_PARAMETER, "an lpid that names no SVM")
ABORTED: Final = Check("aborted", UCode.U_STATE, "an aborted SVM")
SECURE_CALLER: Final = Check("secure", UCode.U_INVALID, "a VM that is not secure")
STARTED: Final = Check("started", HCode.H_UNSUPPORTED, "a VM for which H_SVM_INIT_START is not done")

WRITE_PATE: Final = (
    HYPERVISOR_ONLY,
    Check("dw0", UCode.U_P2, "a partition-scoped table in secure memory"),
    Check("dw1", UCode.U_P3, "a process table in secure memory"),
    Check("lpid", UCode.U_PARAMETER, "lpid 0, or one over 12 bits"),
    Check("svm", UCode.U_PERMISSION, "the entry of an SVM, transient and aborted ones included"),
)
ESM: Final = (
    VM_KERNEL_ONLY,
    Check("kernel_base", UCode.U_PARAMETER, "a kernel base of 0, or not on a page boundary"),
    Check("fdt", UCode.U_P2, "a device tree at 0, or not on an 8-byte boundary"),
    Check("lpid", UCode.U_PARAMETER, "a VM whose partition-table entry was never written"),
    Check("active", UCode.U_BUSY, "a VM whose UV_ESM is still open"),
    ABORTED,
)
REGISTER_MEM_SLOT: Final = (
    HYPERVISOR_ONLY,
    Check("start_gpa", UCode.U_P2, "a start that is not on a page boundary"),
    Check("size", UCode.U_P3, "size 0, a part of a page, a range that wraps or is beyond all memory"),
    Check("flags", UCode.U_P4, "any flag"),
    Check("slotid", UCode.U_P5, "a slot id of 512 or more"),
    SVM_OBJECT,
    ABORTED,
    Check("registered", UCode.U_P5, "a slot id in use"),
    Check("overlap", UCode.U_P2, "a range that overlaps another slot"),
)
UNREGISTER_MEM_SLOT: Final = (
    HYPERVISOR_ONLY,
    Check("slotid", UCode.U_P2, "a slot id of 512 or more"),
    SVM_OBJECT,
    Check("registered", UCode.U_P2, "a slot id that is not in use"),
    Check("moving", UCode.U_BUSY, "a slot with a GFN in flight, or with measured pages of an open UV_ESM"),
)
PAGE_IN: Final = (
    HYPERVISOR_ONLY,
    Check("order", UCode.U_P5, "an order other than 16"),
    Check("flags", UCode.U_P4, "any flag"),
    Check(
        "ra", UCode.U_P2, "a source that is not whole normal pages, backs another GFN, or is in flight", True
    ),
    SVM_OBJECT,
    Check("aborted", UCode.U_STATE, "an aborted SVM, but for imported pages that are not shared", True),
    Check("gpa", UCode.U_P3, "guest pages that do not lie in one slot", True),
    Check("state", UCode.U_P2, "a GFN whose state does not take a page", True),
)
PAGE_OUT: Final = (
    HYPERVISOR_ONLY,
    Check("order", UCode.U_P5, "an order other than 16"),
    Check("flags", UCode.U_P4, "any flag"),
    Check("ra", UCode.U_P2, "a target that is not whole normal pages, backs a GFN, or is in flight", True),
    SVM_OBJECT,
    Check("gpa", UCode.U_P3, "guest pages that do not lie in one slot", True),
    Check("state", UCode.U_PARAMETER, "a GFN that is paged out already", True),
    Check("aborted", UCode.U_STATE, "an aborted SVM, but for its imported pages", True),
)
PAGE_INVAL: Final = (
    HYPERVISOR_ONLY,
    Check("order", UCode.U_P3, "an order other than 16"),
    SVM_OBJECT,
    ABORTED,
    Check("gpa", UCode.U_P2, "guest pages that do not lie in one slot", True),
    Check("state", UCode.U_P2, "a GFN that is not shared", True),
)
SVM_TERMINATE: Final = (
    HYPERVISOR_ONLY,
    Check("lpid", UCode.U_PARAMETER, "an lpid that names no VM"),
    Check("svm", UCode.U_INVALID, "a VM without an SVM object"),
)
SHARE_PAGE: Final = (
    VM_KERNEL_ONLY,
    SECURE_CALLER,
    ABORTED,
    Check("gfn", UCode.U_PARAMETER, "a frame in no slot"),
    Check("num", UCode.U_P2, "pages that do not all lie in slots"),
)
UNSHARE_PAGE: Final = (
    *SHARE_PAGE,
    Check("state", UCode.U_P2, "a page that is implicitly or pseudo-shared"),
)
UNSHARE_ALL_PAGES: Final = (VM_KERNEL_ONLY, SECURE_CALLER, ABORTED)
ESMB_GET_FILE: Final = (
    VM_KERNEL_ONLY,
    SECURE_CALLER,
    ABORTED,
    Check("name", UCode.U_PARAMETER, "a name that is no attached file's"),
    Check("offset", UCode.U_PARAMETER, "an offset beyond the file, or before what was handed out"),
)
SVM_INIT_START: Final = (
    ULTRAVISOR_ONLY,
    Check("lpid", HCode.H_PARAMETER, "an lpid that names no VM"),
    Check("state", HCode.H_STATE, "a VM that is transient or secure"),
    Check("secure_memory", HCode.H_UNSUPPORTED, "a host without secure memory"),
    Check("radix", HCode.H_UNSUPPORTED, "a guest that is not radix"),
    Check("authority", HCode.H_AUTHORITY, "a VM for which secure guests are not enabled"),
)
SVM_INIT_DONE: Final = (
    ULTRAVISOR_ONLY,
    STARTED,
    Check("state", HCode.H_STATE, "a VM that is secure, or whose H_SVM_INIT_START failed"),
)
SVM_INIT_ABORT: Final = (
    ULTRAVISOR_ONLY,
    STARTED,
    Check("state", HCode.H_STATE, "a VM that is secure"),
)
SVM_PAGE_IN: Final = (
    ULTRAVISOR_ONLY,
    STARTED,
    Check("order", HCode.H_P3, "an order other than 16"),
    Check("flags", HCode.H_P2, "a flag other than H_PAGE_IN_SHARED"),
    Check("gpa", HCode.H_PARAMETER, "guest pages that do not lie in one visible slot", True),
    Check("state", HCode.H_PARAMETER, "a GFN that the Ultravisor holds", True),
)
SVM_PAGE_OUT: Final = (
    ULTRAVISOR_ONLY,
    STARTED,
    Check("order", HCode.H_P3, "an order other than 16"),
    Check("flags", HCode.H_P2, "any flag"),
    Check("gpa", HCode.H_PARAMETER, "guest pages that do not lie in one visible slot", True),
)
