"""What the sheets of ultracalls have in common: how a call is made of aspects, and ways to be wrong.

Aspects: `by` who calls, `lpid` the VM that the Hypervisor names or `vm` the one in which a guest runs,
then the arguments. `svm` is no argument: it keeps apart a VM that has no slots, and what a slot or a GFN
of it would be.
"""

from collections.abc import Callable, Mapping
from typing import Final

from pef_lab.rows.doors import Answer
from pef_lab.rows.sheet import Aspects, Sheet
from pef_lab.rows.stage import Stage
from pef_lab.rows.ultravisor.scene import (
    By,
    Cast,
    Kept,
    subjects,
)
from pef_protocol.calls import CALLS
from pef_protocol.quantities import (
    PAGE_ORDER,
    PAGE_SIZE,
    SECURE_BIT,
    U64_MAX,
)

Request = Callable[[Cast, Aspects], object]
Ways = Mapping[str, Aspects]

HALF: Final = PAGE_SIZE // 2
LAST_PAGE: Final = U64_MAX + 1 - PAGE_SIZE
"""The last page of all 64 bits: two pages from here wrap."""
FAR_BEYOND: Final = SECURE_BIT >> 1
"""A real address that is normal by its bit, and beyond any machine's memory: 128 TiB."""

CALLER: Final[Ways] = {
    "the SVM's kernel": {"by": By.KERNEL},
    "a user program": {"by": By.USER},
}
NO_SVM: Final[Ways] = {
    "never made": {"lpid": Kept.NEVER, "svm": False},
    "normal": {"lpid": Kept.NORMAL, "svm": False},
    "0": {"lpid": Kept.NOBODY, "svm": False},
    "64 bits": {"lpid": Kept.HUGE, "svm": False},
}
ABORTED: Final[Ways] = {"": {"lpid": Kept.ABORTED}}
ORDER: Final[Ways] = {
    "one more": {"order": PAGE_ORDER + 1},
    "4 KiB": {"order": 12},
    "0": {"order": 0},
    "64 bits": {"order": U64_MAX},
    "16 and a high bit": {"order": PAGE_ORDER | 1 << 32},
}
FLAGS: Final[Ways] = {
    "lowest": {"flags": 1},
    "highest": {"flags": 1 << 63},
    "all": {"flags": U64_MAX},
}


def sheet(name: str, request: Request, well: Aspects, wrong: Mapping[str, Ways]) -> Sheet:
    """Return the sheet of a call, whose request is what `request` makes of aspects."""

    async def make(_: Stage, cast: Cast, aspects: Aspects) -> Answer:
        return await cast.call(cast.who(aspects), request(cast, aspects))

    return Sheet(CALLS[name], Cast, well, wrong, make, subjects, Cast.ready)
