"""Later codes: which rows show them, and which nobody outside can bring about."""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Final

from pef_lab.rows.row import Row
from pef_lab.rows.ultravisor.esm_codes import ESM_CODES
from pef_lab.rows.ultravisor.page_codes import PAGE_CODES
from pef_lab.rows.ultravisor.sharing_codes import SHARING_CODES
from pef_protocol.codes import Code, UCode

UNREACHABLE: Final[Mapping[tuple[str, Code], str]] = {
    ("UV_REGISTER_MEM_SLOT", UCode.U_BUSY): "no document says when; a Hypervisor must bear it (K8)",
}
"""Codes that a call may give by its table, and that no row brings about, with the reason."""
IN_CELLS: Final = frozenset(
    {
        ("UV_SHARE_PAGE", UCode.U_BUSY),
        ("UV_UNSHARE_PAGE", UCode.U_BUSY),
        ("UV_UNSHARE_ALL_PAGES", UCode.U_BUSY),
    }
)
"""Codes that the cells of transient states show."""


def rows() -> Iterator[Row]:
    """Yield a row a later code, and a way that leads to it."""
    return chain(ESM_CODES.rows, PAGE_CODES.rows, SHARING_CODES.rows)
