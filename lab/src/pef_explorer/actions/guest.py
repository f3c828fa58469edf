"""What the stores and ultracalls of the guest leave in its pages."""

from typing import Final

from pef_explorer.actions.action import PRIVATE, Target
from pef_explorer.actions.oracle import OPEN, SECRET, ZERO
from pef_protocol.states import UvGfnState as S

KEPT_SHARED: Final = frozenset({S.SHARED_IMPLICIT, S.SHARED_IMPLICIT_INV})


def store(world: Target, gfns: range) -> bytes:
    """Store a token."""
    gfn = gfns.start
    secret = world.oracle.secure and world.at_uv(gfn) in PRIVATE and not world.shares(gfn)
    token = world.token(SECRET if secret else OPEN, gfn)
    world.oracle.also(gfn, token)
    return token


def unshare(world: Target, gfns: range) -> bytes:
    """Zero the pages that are the guest's own to share."""
    zeroed = [gfn for gfn in gfns if world.at_uv(gfn) not in KEPT_SHARED]
    for gfn in zeroed:
        world.oracle.also(gfn, ZERO)
    return ZERO if zeroed else b""


def share(world: Target, gfns: range) -> bytes:
    """Zero pages; a store of another vCPU may go to a page before it is shared, or afterwards."""
    for gfn in gfns:
        world.is_shared_meanwhile(gfn)
    return unshare(world, gfns)


def unshare_all(world: Target, _: range) -> bytes:
    """Zero what the guest shares."""
    for gfn in range(world.system.plan.pages):
        if world.at_uv(gfn) in {S.SHARED, S.SHARED_INV}:
            world.oracle.also(gfn, ZERO)
    return ZERO


def written(world: Target, gfn: int, values: frozenset[bytes], outcome: str) -> None:
    """Let the page hold what was written last, where it was written."""
    if outcome in {"resolved", "U_SUCCESS"} and values & world.oracle.may[gfn]:
        world.oracle.may[gfn] = values


def two_written(world: Target, gfn: int, values: frozenset[bytes], outcome: str) -> None:
    """Let each of two pages hold what was written last to it."""
    for each in (gfn, gfn + 1):
        written(world, each, values & world.oracle.may[each], outcome)
