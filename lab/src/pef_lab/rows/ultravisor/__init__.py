"""The rows of an Ultravisor, beside the Hypervisor that stands there, or alone with us in its place.

vm.py, images.py, seen.py               VMs, what they boot, and what is seen of their pages
scene.py                                VMs and GFNs of every kind, for the ladders
from_hypervisor.py, from_guest.py       a sheet a call: what each rung refuses
nobody.py                               calls without a token
runs.py                                 messages of several runs
successes.py, page_successes.py         each call as it should be
esm_codes.py, page_codes.py             later codes; codes.py says which can't be had, and why
table.py, gfn.py, cells.py              each operation on a GFN in each state
"""

from collections.abc import Iterator
from itertools import chain

from pef_lab.rows.row import Row
from pef_lab.rows.sheet import Unmade
from pef_lab.rows.ultravisor import cells, codes, from_guest, from_hypervisor, nobody, runs
from pef_lab.rows.ultravisor.page_successes import PAGE_SUCCESSES
from pef_lab.rows.ultravisor.sharing_successes import SHARING_SUCCESSES
from pef_lab.rows.ultravisor.successes import SUCCESSES

SHEETS = (*from_hypervisor.SHEETS, *from_guest.SHEETS)


def rows() -> Iterator[Row]:
    """Yield every row of an Ultravisor."""
    yield from SUCCESSES.rows
    yield from PAGE_SUCCESSES.rows
    yield from SHARING_SUCCESSES.rows
    yield from chain.from_iterable(sheet.rows() for sheet in SHEETS)
    yield from nobody.rows(SHEETS)
    yield from runs.rows()
    yield from codes.rows()
    yield from cells.rows()


def unmade() -> Iterator[Unmade]:
    """Yield the pairs of rungs that have no row, with the reason."""
    for sheet in SHEETS:
        yield from sheet.unmade()
