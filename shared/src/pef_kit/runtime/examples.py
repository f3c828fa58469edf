"""Examples of calls for the OpenAPI documents. A test plays each one, in this order, against a live pair.

They are about VM 1, which has 16 MiB of memory and an image, and becomes secure by the example of UV_ESM.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE


@dataclass(frozen=True, slots=True)
class Example:
    """A request of a call, and the name of the code that answers it.

    `check` names the check that refuses it; empty where none does.
    """

    name: str
    summary: str
    request: dict[str, Any]
    code: str
    check: str = ""


LPID: Final = 1
OTHER: Final = 2000
"""An lpid that no VM has."""
NORMAL_PAGE: Final = (1 << 32) + (1 << 30) - PAGE_SIZE
"""The real address of a page of normal memory that no VM uses."""
SHARED: Final = 100
PRIVATE: Final = 120
"""GFNs that the image leaves to the guest."""


def paging(*row: int, order: int = PAGE_ORDER, **flags: int) -> dict[str, Any]:
    """Return the request of a paging call with one run."""
    return {"lpid": LPID, "runs": [list(row)], **flags, "order": order}


EXAMPLES: Final[Mapping[str, tuple[Example, ...]]] = {
    "UV_WRITE_PATE": (
        Example("done", "An entry is written.", {"lpid": OTHER, "dw0": 1 << 40, "dw1": 0}, "U_SUCCESS"),
        Example("lpid", "LPID 0 is no VM.", {"lpid": 0, "dw0": 1 << 40, "dw1": 0}, "U_PARAMETER", "lpid"),
    ),
    "UV_ESM": (
        Example(
            "fdt",
            "The device tree is not on an 8-byte boundary.",
            {"kernel_base": 0x400000, "fdt": 0x100001},
            "U_P2",
            "fdt",
        ),
        Example(
            "done", "The VM is secure from now on.", {"kernel_base": 0x400000, "fdt": 0x100000}, "U_SUCCESS"
        ),
    ),
    "UV_REGISTER_MEM_SLOT": (
        Example(
            "done",
            "A slot of one page is registered.",
            {"lpid": LPID, "start_gpa": 1 << 34, "size": PAGE_SIZE, "flags": 0, "slotid": 7},
            "U_SUCCESS",
        ),
        Example(
            "flags",
            "There are no flags.",
            {"lpid": LPID, "start_gpa": 1 << 35, "size": PAGE_SIZE, "flags": 1, "slotid": 8},
            "U_P4",
            "flags",
        ),
    ),
    "UV_UNREGISTER_MEM_SLOT": (
        Example("done", "The slot is taken away.", {"lpid": LPID, "slotid": 7}, "U_SUCCESS"),
        Example("lpid", "There is no such SVM.", {"lpid": OTHER, "slotid": 7}, "U_PARAMETER", "lpid"),
    ),
    "UV_ESMB_GET_FILE": (
        Example("done", "The first bytes are handed out.", {"name": "disk-key", "offset": 0}, "U_SUCCESS"),
        Example("name", "No such file is attached.", {"name": "no-file", "offset": 0}, "U_PARAMETER", "name"),
    ),
    "UV_SHARE_PAGE": (
        Example("done", "Four pages are shared.", {"gfn": SHARED, "num": 4}, "U_SUCCESS"),
        Example("gfn", "The frame is in no slot.", {"gfn": 1 << 40, "num": 1}, "U_PARAMETER", "gfn"),
    ),
    "UV_UNSHARE_PAGE": (
        Example("done", "Two pages are the guest's own again.", {"gfn": SHARED, "num": 2}, "U_SUCCESS"),
        Example("gfn", "The frame is in no slot.", {"gfn": 1 << 40, "num": 1}, "U_PARAMETER", "gfn"),
    ),
    "UV_PAGE_INVAL": (
        Example("done", "A shared page is unmapped.", paging((SHARED + 2) * PAGE_SIZE, 1), "U_SUCCESS"),
        Example(
            "order", "The order is not 16.", paging((SHARED + 2) * PAGE_SIZE, 1, order=12), "U_P3", "order"
        ),
    ),
    "UV_UNSHARE_ALL_PAGES": (Example("done", "Every page is the guest's own again.", {}, "U_SUCCESS"),),
    "UV_PAGE_OUT": (
        Example(
            "done",
            "A page goes out, encrypted.",
            paging(NORMAL_PAGE, PRIVATE * PAGE_SIZE, 1, flags=0),
            "U_SUCCESS",
        ),
        Example(
            "order",
            "The order is not 16.",
            paging(NORMAL_PAGE, PRIVATE * PAGE_SIZE, 1, flags=0, order=12),
            "U_P5",
            "order",
        ),
    ),
    "UV_PAGE_IN": (
        Example(
            "done",
            "The page comes back as it went out.",
            paging(NORMAL_PAGE, PRIVATE * PAGE_SIZE, 1, flags=0),
            "U_SUCCESS",
        ),
        Example(
            "flags",
            "There are no flags.",
            paging(NORMAL_PAGE, PRIVATE * PAGE_SIZE, 1, flags=1),
            "U_P4",
            "flags",
        ),
    ),
    "H_SVM_PAGE_OUT": (
        Example(
            "done",
            "The Hypervisor takes a page out.",
            paging((PRIVATE + 1) * PAGE_SIZE, 1, flags=0),
            "H_SUCCESS",
        ),
        Example(
            "order",
            "The order is not 16.",
            paging((PRIVATE + 1) * PAGE_SIZE, 1, flags=0, order=12),
            "H_P3",
            "order",
        ),
    ),
    "H_SVM_PAGE_IN": (
        Example(
            "done",
            "The Hypervisor brings the page back.",
            paging((PRIVATE + 1) * PAGE_SIZE, 1, flags=0),
            "H_SUCCESS",
        ),
        Example(
            "flags",
            "There is one flag, for shared pages.",
            paging((PRIVATE + 1) * PAGE_SIZE, 1, flags=2),
            "H_P2",
            "flags",
        ),
    ),
    "H_SVM_INIT_START": (
        Example("state", "The VM is secure already.", {"lpid": LPID}, "H_STATE", "state"),
        Example("lpid", "There is no such VM.", {"lpid": OTHER}, "H_PARAMETER", "lpid"),
    ),
    "H_SVM_INIT_DONE": (Example("state", "The VM is secure already.", {"lpid": LPID}, "H_STATE", "state"),),
    "H_SVM_INIT_ABORT": (Example("state", "The VM is secure already.", {"lpid": LPID}, "H_STATE", "state"),),
    "UV_SVM_TERMINATE": (
        Example("svm", "The VM is not secure.", {"lpid": OTHER}, "U_INVALID", "svm"),
        Example("done", "The SVM is over.", {"lpid": LPID}, "U_SUCCESS"),
    ),
}
"""The examples of each call, by its name: in the order of a VM's life."""
