"""The key of a state: two observations are the same to the explorer where their keys are equal.

A key leaves out the marks by which nothing is decided here (see `INERT`), and has bytes by their origin only.
"""

from typing import Final

from pef_explorer.actions.oracle import Oracle
from pef_explorer.world.observation import Observation
from pef_hypervisor.gfn.columns import SENT
from pef_protocol.states import HvVmState
from pef_ultravisor.gfn.columns import FRAME_POPULATED, REFERENCED

INERT: Final = bytes(mark & ~(REFERENCED | FRAME_POPULATED) & 0xFF for mark in range(256))
"""REFERENCED chooses what is evicted, and nothing is; FRAME_POPULATED says that a frame must be scrubbed,
and its bytes stand in the key themselves."""
SECURED: Final = bytes(mark & ~SENT & 0xFF for mark in range(256))
"""SENT says in a secure VM only what H_SVM_INIT_ABORT would have needed."""
_SIDES: Final = int(HvVmState.SECURE)


def shape_of(seen: Observation) -> tuple[object, ...]:
    """Return what makes the machines differ from others, but for the bytes in their pages."""
    secured = seen.hv_vm[0] == _SIDES
    return (
        seen.hv_vm,
        seen.pool,
        seen.uv_vm,
        seen.reserved,
        seen.hv,
        seen.hv_marks.translate(SECURED) if secured else seen.hv_marks,
        seen.registered,
        seen.uv,
        seen.uv_marks.translate(INERT),
        seen.mapped,
        seen.recorded,
        seen.named,
    )


def key_of(seen: Observation, oracle: Oracle) -> tuple[object, ...]:
    """Return what makes this state differ from others."""
    return (
        shape_of(seen),
        tuple(oracle.origin(gfn, page) for gfn, page in enumerate(seen.normal)),
        tuple(oracle.origin(gfn, page) for gfn, page in enumerate(seen.frames)),
        oracle.key(),
    )


def part_of(seen: Observation, oracle: Oracle, gfn: int, slot: int, page: int | None) -> tuple[object, ...]:
    """Return all that an action on `gfn` alone depends on; `page` is the GFN's page of normal memory.

    The counts of both pools are left out: there is room for every page.
    """
    secured = seen.hv_vm[0] == _SIDES
    marks = seen.hv_marks[gfn : gfn + 1]
    return (
        seen.hv_vm,
        seen.uv_vm,
        len(seen.registered) > slot and seen.registered[slot],
        seen.hv[gfn],
        marks.translate(SECURED) if secured else marks,
        seen.uv[gfn],
        seen.uv_marks[gfn : gfn + 1].translate(INERT),
        bool(seen.mapped[gfn]),
        seen.recorded[gfn],
        b"" if page is None else oracle.origin(gfn, seen.normal[page]),
        oracle.origin(gfn, seen.frames[gfn]),
        (
            oracle.key_of(oracle.may[gfn]),
            oracle.tainted[gfn],
            oracle.absent[gfn],
            oracle.secure,
        ),
    )
