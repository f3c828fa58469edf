"""The sheets of UV_PAGE_IN, UV_PAGE_OUT and UV_PAGE_INVAL: made well, and refused by each rung."""

from collections.abc import Mapping
from typing import Any, Final

from pef_kit.runtime.bus import NORMAL_BASE
from pef_lab.rows.sheet import Aspects
from pef_lab.rows.ultravisor.scene import (
    KERNEL,
    OUT,
    RESIDENT,
    SHARED,
    WITHDRAWN,
    At,
    By,
    Cast,
    Kept,
    Place,
)
from pef_lab.rows.ultravisor.vm import NO_SLOT, PAGES, UPPER
from pef_lab.rows.ultravisor.ways import (
    ABORTED,
    CALLER,
    FAR_BEYOND,
    FLAGS,
    HALF,
    LAST_PAGE,
    NO_SVM,
    ORDER,
    Ways,
    sheet,
)
from pef_protocol.quantities import (
    PAGE_ORDER,
    PAGE_SIZE,
    SECURE_BIT,
    U64_MAX,
    PageOrder,
    gpa_of,
)
from pef_protocol.runs import PageRuns, PlacedRuns
from pef_protocol.ultracalls import (
    PageIn,
    PageInval,
    PageOut,
)


def placed(cast: Cast, aspects: Aspects) -> PlacedRuns:
    """Return the runs of UV_PAGE_IN and UV_PAGE_OUT: that of the aspects, and `more`."""
    rows = [(aspects["ra"], aspects["gpa"], aspects["count"]), *aspects["more"]]
    return PlacedRuns.from_rows((cast.ra(ra), gpa, count) for ra, gpa, count in rows)


def addresses(good: int, other: int) -> Ways:
    """Return guest addresses that name no pages of one slot; `good` and `other` are GFNs that would do."""
    return {
        "no slot": {"gpa": gpa_of(NO_SLOT)},
        "half a page": {"gpa": gpa_of(good) + HALF},
        "one byte": {"gpa": gpa_of(good) + 1},
        "beyond the slot": {"gpa": gpa_of(UPPER.first + UPPER.pages - 1), "count": 2},
        "two slots": {"gpa": gpa_of(PAGES - 1), "count": 2},
        "wraps": {"gpa": LAST_PAGE, "count": 2},
        "high bits": {"gpa": gpa_of(good) | 1 << 56},
        "twice": {"gpa": gpa_of(good), "more": _twice(good), "count": 1},
        "overlapping": {"gpa": gpa_of(good), "count": 2, "more": _twice(other)},
    }


def _twice(gfn: int) -> tuple[tuple[At, int, int], ...]:
    return ((At(Place.SPARE, 2 * PAGE_SIZE), gpa_of(gfn), 1),)


def real_addresses(other: int) -> Ways:
    """Return real addresses that are no whole normal pages, or back a GFN; `other` is a GFN that would do."""
    named_twice = ((At(Place.SPARE), gpa_of(other), 1),)
    return {
        "0": {"ra": 0},
        "below normal memory": {"ra": NORMAL_BASE - PAGE_SIZE},
        "secure memory": {"ra": At(Place.SPARE, SECURE_BIT)},
        "half a page": {"ra": At(Place.SPARE, HALF)},
        "one byte": {"ra": At(Place.SPARE, 1)},
        "beyond all memory": {"ra": FAR_BEYOND},
        "wraps": {"ra": LAST_PAGE, "count": 2},
        "backs a GFN": {"ra": At(Place.BACKING)},
        "backs a GFN of another SVM": {"ra": At(Place.BACKING_OTHER)},
        "its second page backs a GFN": {"ra": At(Place.BACKING, -PAGE_SIZE), "count": 2},
        "named twice": {"ra": At(Place.SPARE), "more": named_twice},
    }


_PLACED_WELL: Final[Mapping[str, Any]] = {
    "by": By.HYPERVISOR,
    "order": PAGE_ORDER,
    "flags": 0,
    "ra": At(Place.SPARE),
    "lpid": Kept.SECURE,
    "count": 1,
    "more": (),
    "svm": True,
}
PAGE_IN: Final = sheet(
    "UV_PAGE_IN",
    lambda cast, a: PageIn(cast.lpid(a["lpid"]), placed(cast, a), a["flags"], PageOrder(a["order"])),
    {**_PLACED_WELL, "gpa": gpa_of(WITHDRAWN)},
    {
        "caller": CALLER,
        "order": ORDER,
        "flags": FLAGS,
        "ra": real_addresses(WITHDRAWN + 1),
        "lpid": NO_SVM,
        "aborted": ABORTED,
        "gpa": addresses(WITHDRAWN, WITHDRAWN + 1),
        "state": {
            "resident": {"gpa": gpa_of(RESIDENT), "svm": True},
            "measured": {"gpa": gpa_of(KERNEL), "svm": True},
            "never touched": {"gpa": gpa_of(UPPER.first), "svm": True},
            "of the open UV_ESM": {"gpa": gpa_of(KERNEL), "svm": True, "lpid": Kept.ACTIVE},
        },
    },
)
PAGE_OUT: Final = sheet(
    "UV_PAGE_OUT",
    lambda cast, a: PageOut(cast.lpid(a["lpid"]), placed(cast, a), a["flags"], PageOrder(a["order"])),
    {**_PLACED_WELL, "gpa": gpa_of(RESIDENT)},
    {
        "caller": CALLER,
        "order": ORDER,
        "flags": FLAGS,
        "ra": real_addresses(RESIDENT + 1),
        "lpid": NO_SVM,
        "aborted": ABORTED,
        "gpa": addresses(RESIDENT, RESIDENT + 1),
        "state": {"": {"gpa": gpa_of(OUT), "lpid": Kept.SECURE, "svm": True}},
    },
)
PAGE_INVAL: Final = sheet(
    "UV_PAGE_INVAL",
    lambda cast, a: PageInval(
        cast.lpid(a["lpid"]),
        PageRuns.from_rows([(a["gpa"], a["count"]), *((gpa, count) for _, gpa, count in a["more"])]),
        PageOrder(a["order"]),
    ),
    {
        "by": By.HYPERVISOR,
        "order": PAGE_ORDER,
        "lpid": Kept.SECURE,
        "gpa": gpa_of(SHARED),
        "count": 1,
        "more": (),
        "svm": True,
    },
    {
        "caller": CALLER,
        "order": ORDER,
        "lpid": NO_SVM,
        "aborted": ABORTED,
        "gpa": {
            **addresses(SHARED, SHARED + 1),
            "2^47 pages": {"count": 1 << 47},
            "64 bits of pages": {"count": U64_MAX},
        },
        "state": {
            "resident": {"gpa": gpa_of(RESIDENT), "svm": True},
            "paged out": {"gpa": gpa_of(OUT), "svm": True},
        },
    },
)
PAGING: Final = (PAGE_IN, PAGE_OUT, PAGE_INVAL)
