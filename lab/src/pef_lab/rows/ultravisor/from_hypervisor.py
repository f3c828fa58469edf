"""The sheets of the ultracalls that the Hypervisor makes: how each is made well, what each rung refuses."""

from typing import Final

from pef_lab.rows.ultravisor.paging_sheets import PAGING
from pef_lab.rows.ultravisor.scene import (
    By,
    Kept,
)
from pef_lab.rows.ultravisor.vm import NO_SLOT, UPPER
from pef_lab.rows.ultravisor.ways import ABORTED, CALLER, FLAGS, HALF, LAST_PAGE, NO_SVM, sheet
from pef_protocol.quantities import (
    PAGE_SIZE,
    SECURE_BIT,
    SLOT_IDS,
    U64_MAX,
    Gpa,
    SlotId,
    gpa_of,
)
from pef_protocol.ultracalls import (
    RegisterMemSlot,
    SvmTerminate,
    UnregisterMemSlot,
    WritePate,
)

PATE: Final = sheet(
    "UV_WRITE_PATE",
    lambda cast, a: WritePate(cast.lpid(a["lpid"]), a["dw0"], a["dw1"]),
    {"by": By.HYPERVISOR, "lpid": Kept.NORMAL, "dw0": 1, "dw1": 1},
    {
        "caller": CALLER,
        "dw0": {"": {"dw0": SECURE_BIT | 1}, "among others": {"dw0": SECURE_BIT | 1 << 40 | PAGE_SIZE}},
        "dw1": {"": {"dw1": SECURE_BIT | 1}, "among others": {"dw1": SECURE_BIT | 1 << 40 | PAGE_SIZE}},
        "lpid": {"0": {"lpid": Kept.NOBODY}, "64 bits": {"lpid": Kept.HUGE}, "13 bits": {"lpid": Kept.WIDE}},
        "svm": {
            "": {"lpid": Kept.SECURE},
            "taken away": {"lpid": Kept.SECURE, "dw0": 0, "dw1": 0},
            "transient": {"lpid": Kept.ACTIVE},
            "aborted": {"lpid": Kept.ABORTED},
        },
    },
)
REGISTER: Final = sheet(
    "UV_REGISTER_MEM_SLOT",
    lambda cast, a: RegisterMemSlot(
        cast.lpid(a["lpid"]), Gpa(a["start"]), a["size"], a["flags"], SlotId(a["slotid"])
    ),
    {
        "by": By.HYPERVISOR,
        "lpid": Kept.SECURE,
        "start": gpa_of(NO_SLOT),
        "size": 4 * PAGE_SIZE,
        "flags": 0,
        "slotid": 7,
        "svm": True,
    },
    {
        "caller": CALLER,
        "start_gpa": {
            "half a page": {"start": gpa_of(NO_SLOT) + HALF},
            "one byte": {"start": gpa_of(NO_SLOT) + 1},
        },
        "size": {
            "0": {"size": 0},
            "part of a page": {"size": HALF},
            "a page and a part": {"size": PAGE_SIZE + 1},
            "wraps": {"size": LAST_PAGE},
            "64 bits": {"size": U64_MAX},
            "beyond all memory": {"size": 1 << 47},
        },
        "flags": FLAGS,
        "slotid": {
            "512": {"slotid": SLOT_IDS},
            "64 bits": {"slotid": U64_MAX},
            "0 in 16 bits": {"slotid": 1 << 16},
        },
        "lpid": NO_SVM,
        "aborted": ABORTED,
        "registered": {
            "": {"slotid": UPPER.slotid, "svm": True},
            "the first": {"slotid": 0, "svm": True},
        },
        "overlap": {
            "the same": {"start": gpa_of(UPPER.first), "size": UPPER.pages * PAGE_SIZE, "svm": True},
            "its last page": {"start": gpa_of(UPPER.first + UPPER.pages - 1), "svm": True},
            "its first page": {"start": 0, "size": PAGE_SIZE, "svm": True},
            "around it": {
                "start": gpa_of(UPPER.first - 4),
                "size": (UPPER.pages + 8) * PAGE_SIZE,
                "svm": True,
            },
        },
    },
)
UNREGISTER: Final = sheet(
    "UV_UNREGISTER_MEM_SLOT",
    lambda cast, a: UnregisterMemSlot(cast.lpid(a["lpid"]), SlotId(a["slotid"])),
    {"by": By.HYPERVISOR, "lpid": Kept.SECURE, "slotid": UPPER.slotid, "svm": True},
    {
        "caller": CALLER,
        "slotid": {
            "512": {"slotid": SLOT_IDS},
            "64 bits": {"slotid": U64_MAX},
            "0 in 16 bits": {"slotid": 1 << 16},
        },
        "lpid": NO_SVM,
        "registered": {"": {"slotid": 9, "svm": True}},
        "moving": {
            "measured": {"lpid": Kept.ACTIVE, "slotid": 0, "svm": True},
            "in flight": {"lpid": Kept.IN_FLIGHT, "slotid": 0, "svm": True},
        },
    },
)
TERMINATE: Final = sheet(
    "UV_SVM_TERMINATE",
    lambda cast, a: SvmTerminate(cast.lpid(a["lpid"])),
    {"by": By.HYPERVISOR, "lpid": Kept.SECURE},
    {
        "caller": CALLER,
        "lpid": {way: {"lpid": aspects["lpid"]} for way, aspects in NO_SVM.items() if way != "normal"},
        "svm": {"": {"lpid": Kept.NORMAL}},
    },
)
SHEETS: Final = (PATE, REGISTER, UNREGISTER, *PAGING, TERMINATE)
