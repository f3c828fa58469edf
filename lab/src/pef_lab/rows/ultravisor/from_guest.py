"""The sheets of the ultracalls that a guest makes: how each is made well, what each rung refuses."""

from collections.abc import Mapping
from typing import Final

from pef_lab.rows.sheet import Aspects, Sheet
from pef_lab.rows.ultravisor.scene import READ_SO_FAR, RESIDENT, RTAS, SHARED, By, Kept
from pef_lab.rows.ultravisor.vm import NO_SLOT, PAGES, UPPER
from pef_lab.rows.ultravisor.ways import Ways, sheet
from pef_protocol.quantities import PAGE_SIZE, U64_MAX, Gfn, Gpa
from pef_protocol.ultracalls import Esm, EsmbGetFile, SharePage, UnshareAllPages, UnsharePage

KERNEL_BASE: Final = 64 * PAGE_SIZE
FDT: Final = 16 * PAGE_SIZE
CALLER: Final[Ways] = {
    "the Hypervisor": {"by": By.HYPERVISOR},
    "a user program": {"by": By.USER},
    "lpid 0": {"by": By.KERNEL, "vm": Kept.NOBODY},
}
NOT_SECURE: Final[Ways] = {
    "": {"vm": Kept.NORMAL, "svm": False},
    "unknown": {"vm": Kept.NEVER, "svm": False},
    "not yet": {"vm": Kept.ACTIVE, "svm": False},
}
ABORTED: Final[Ways] = {"": {"vm": Kept.ABORTED}}

ESM: Final = sheet(
    "UV_ESM",
    lambda _, a: Esm(Gpa(a["kernel_base"]), Gpa(a["fdt"])),
    {"by": By.KERNEL, "vm": Kept.NORMAL, "kernel_base": KERNEL_BASE, "fdt": FDT},
    {
        "caller": CALLER,
        "kernel_base": {
            "0": {"kernel_base": 0},
            "half a page": {"kernel_base": KERNEL_BASE + PAGE_SIZE // 2},
            "one byte": {"kernel_base": KERNEL_BASE + 1},
        },
        "fdt": {"0": {"fdt": 0}, "4 bytes": {"fdt": FDT + 4}, "one byte": {"fdt": FDT + 1}},
        "lpid": {"": {"vm": Kept.NEVER}},
        "active": {"": {"vm": Kept.ACTIVE}},
        "aborted": ABORTED,
    },
)
_SECURE_ONLY: Final[Mapping[str, Ways]] = {"caller": CALLER, "secure": NOT_SECURE, "aborted": ABORTED}
_PAGES_WELL: Final[Aspects] = {"by": By.KERNEL, "vm": Kept.SECURE, "num": 1, "svm": True}
_PAGES: Final[Mapping[str, Ways]] = {
    **_SECURE_ONLY,
    "gfn": {
        "no slot": {"gfn": NO_SLOT},
        "just beyond": {"gfn": UPPER.first + UPPER.pages},
        "64 bits": {"gfn": U64_MAX},
    },
    "num": {
        "beyond the slots": {"num": PAGES + UPPER.pages},
        "one too many": {"gfn": UPPER.first, "num": UPPER.pages + 1},
        "wraps": {"num": U64_MAX},
    },
}
SHARE: Final = sheet(
    "UV_SHARE_PAGE",
    lambda _, a: SharePage(Gfn(a["gfn"]), a["num"]),
    {**_PAGES_WELL, "gfn": RESIDENT},
    _PAGES,
)
UNSHARE: Final = sheet(
    "UV_UNSHARE_PAGE",
    lambda cast, a: UnsharePage(Gfn(cast.bounce[0] if a["gfn"] is None else a["gfn"]), a["num"]),
    {**_PAGES_WELL, "gfn": SHARED},
    {
        **_PAGES,
        "state": {
            "pseudo-shared": {"gfn": RTAS, "svm": True},
            "implicitly shared": {"gfn": None, "svm": True},
            "among others": {"gfn": RTAS - 1, "num": 2, "svm": True},
        },
    },
)
UNSHARE_ALL: Final = sheet(
    "UV_UNSHARE_ALL_PAGES",
    lambda _, __: UnshareAllPages(),
    {"by": By.KERNEL, "vm": Kept.SECURE, "svm": True},
    _SECURE_ONLY,
)
GET_FILE: Final = sheet(
    "UV_ESMB_GET_FILE",
    lambda _, a: EsmbGetFile(a["name"], a["offset"]),
    {"by": By.KERNEL, "vm": Kept.SECURE, "name": "key", "offset": 0, "svm": True},
    {
        **_SECURE_ONLY,
        "name": {"": {"name": "none such"}, "empty": {"name": ""}, "a part of one": {"name": "ke"}},
        "offset": {
            "beyond": {"name": "key", "offset": 101},
            "64 bits": {"name": "key", "offset": U64_MAX},
            "handed out": {"name": "read", "offset": READ_SO_FAR - 1},
            "from the start": {"name": "read", "offset": 0},
        },
    },
)
SHEETS: Final[tuple[Sheet, ...]] = (ESM, SHARE, UNSHARE, UNSHARE_ALL, GET_FILE)
