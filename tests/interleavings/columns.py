"""What is run to its end while another operation is suspended, and which operations are suspended."""

from dataclasses import dataclass
from typing import Final

from interleavings.steps import STEPS

NORMAL_VM: Final = 3


@dataclass(frozen=True, slots=True)
class Column:
    """Steps that are run one after the other, to the first that does not succeed. `key` is short."""

    key: str
    steps: tuple[str, ...]

    @property
    def lies(self) -> bool:
        """Tell whether a step is one of a lying Hypervisor."""
        return any(STEPS[name].lies for name in self.steps)


COMPOUND: Final = (
    Column("destroy + create", ("destroy", "create", "create", "add slot 0", "store as a normal VM")),
    Column(
        "destroy + create + UV_ESM",
        (
            "destroy",
            "create",
            "create",
            "add slot 0",
            "add slot 1",
            "UV_ESM",
            "share a private page",
            "store to a shared page",
        ),
    ),
    Column(
        "reset + UV_ESM + share",
        ("reset", "UV_ESM", "share shared pages", "store to shared and private pages"),
    ),
    Column("reset + store", ("reset", "store as a normal VM")),
    Column("terminate + reset", ("UV_SVM_TERMINATE", "reset", "store as a normal VM")),
    Column(
        "terminate + UV_ESM",
        ("UV_SVM_TERMINATE", "reset", "UV_ESM", "share shared pages", "store to shared and private pages"),
    ),
    Column("remove + add slot", ("remove slot 1", "add slot 1", "store to the plugged slot")),
    Column(
        "share + unshare",
        ("share a private page", "unshare what was private", "store to shared and private pages"),
    ),
)
SINGLE: Final = tuple(Column(name, (name,)) for name in STEPS)
COLUMNS: Final = (*SINGLE, *COMPOUND)

ELSEWHERE: Final = frozenset(
    {
        "load a page that is out",
        "store to shared and private pages",
        "UV_ESM",
        "UV_ESM with a bad image",
        "share a private page",
        "unshare",
        "create",
        "add slot 2",
        "remove slot 1",
        "reset",
        "destroy",
        "host reads many pages",
        "host writes many pages",
        "UV_PAGE_OUT to the same spare page",
        "UV_PAGE_IN of a spare page",
        "destroy + create",
        "destroy + create + UV_ESM",
        "reset + UV_ESM + share",
    }
)
"""Columns that are run in another VM, too."""
EVERYBODYS: Final = frozenset({"create"})
"""Columns that name no VM."""

BY_DESIGN: Final = frozenset(
    {
        "load a page that is out",
        "load shared and private pages",
        "store to shared and private pages",
        "share a private page",
        "unshare",
        "add slot 2",
        "remove slot 1",
        "reset",
        "destroy",
        "host reads many pages",
    }
)
"""Operations of VM 1 that do other things in another design, or where secure memory is full."""
NORMAL_ROWS: Final = (
    "UV_ESM",
    "UV_ESM with a bad image",
    "load as a normal VM",
    "store as a normal VM",
    "host writes many pages",
    "host reads many pages",
    "destroy",
)
"""Operations that are suspended in the VM that is still normal; all are in VM 1, which is secure."""


ENDINGS: Final = (
    Column(
        "destroy + create",
        ("destroy", "create", "create", "add slot 0", "add slot 1", "store as a normal VM"),
    ),
    Column(
        "reset + UV_ESM + share",
        ("reset", "UV_ESM", "share shared pages", "store to shared and private pages"),
    ),
    Column("remove + add slot", ("remove slot 1", "add slot 1")),
)
"""Columns that begin first: what begins inside them is suspended in turn while they end."""


def targets(column: Column, lpid: int) -> tuple[int, ...]:
    """Return the VMs in which a column is run while an operation of VM `lpid` is suspended."""
    if column.key in EVERYBODYS:
        return (0,)
    if column.key not in ELSEWHERE:
        return (lpid,)
    others = {"UV_ESM", "UV_ESM with a bad image"}
    return (
        lpid,
        NORMAL_VM if lpid != NORMAL_VM and column.key in others else 3 - lpid if lpid != NORMAL_VM else 1,
    )
