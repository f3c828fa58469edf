"""The rows of a Hypervisor: its hypercalls, the life of its VMs and of their GFNs, and what it asks for.

| module | its rows |
|---|---|
| `sheets`, `unknown` | each hypercall made wrong, rung by rung and pair by pair; calls that there are not |
| `successes`, `beside` | each as it should be; one run is refused and the others are done |
| `events`, `life` | what becomes of a GFN by event and state; the two life cycles |
| `refusals`, `busy` | what the Ultravisor refuses or does not answer; U_BUSY and H_BUSY |
| `flows`, `hot_add` | reset, destroy, hot-add and hot-remove as a whole |

`outside` is whoever stands outside a Hypervisor, `vms` brings VMs into each state, `secure_vm` on a pair.
"""

from collections.abc import Iterator

from pef_lab.rows.hypervisor import beside, busy, events, flows, hot_add, life, refusals, successes, unknown
from pef_lab.rows.hypervisor.sheets import SHEETS
from pef_lab.rows.row import Row
from pef_lab.rows.sheet import Unmade


def rows() -> Iterator[Row]:
    """Yield the rows of a Hypervisor."""
    for sheet in SHEETS:
        yield from sheet.rows()
    yield from events.rows()
    yield from life.rows()
    yield from refusals.rows()
    yield from successes.rows()
    yield from busy.rows()
    yield from beside.rows()
    yield from unknown.rows()
    yield from flows.rows()
    yield from hot_add.rows()


def unmade() -> Iterator[Unmade]:
    """Yield the pairs of rungs that have no row, and why."""
    for sheet in SHEETS:
        yield from sheet.unmade()
