"""The actions of the guest: loads, stores and ultracalls, and the tokens that its pages may then hold."""

from collections.abc import Callable
from typing import Any, Final

from pef_explorer.actions.action import PRIVATE, Begin, Target
from pef_explorer.actions.oracle import OPEN, SECRET, ZERO
from pef_explorer.machines import operations
from pef_explorer.machines.small_memory import TOKEN_BYTES
from pef_explorer.machines.system import LPID
from pef_kit.core.effects import Operation
from pef_protocol.states import UvGfnState as S

KEPT_SHARED: Final = frozenset({S.SHARED_IMPLICIT, S.SHARED_IMPLICIT_INV})


def load(world: Target, gfn: int) -> tuple[Operation[Any], bytes]:
    """Load a token."""
    return operations.load(world.system, LPID, gfn, TOKEN_BYTES, secure=world.oracle.secure), b""


def store(world: Target, gfn: int) -> tuple[Operation[Any], bytes]:
    """Store a token."""
    secret = world.oracle.secure and world.at_uv(gfn) in PRIVATE and not world.shares(gfn)
    token = world.token(SECRET if secret else OPEN, gfn)
    world.oracle.also(gfn, token)
    return operations.store(world.system, LPID, gfn, token, secure=world.oracle.secure), token


def zeroing(ultracall: Callable[..., Operation[Any]]) -> Begin:
    """Return the action of an ultracall after which the page is zero."""

    def begin(world: Target, gfn: int) -> tuple[Operation[Any], bytes]:
        kept = world.at_uv(gfn) in KEPT_SHARED
        if not kept:
            world.oracle.also(gfn, ZERO)
        return ultracall(world.system, LPID, gfn), b"" if kept else ZERO

    return begin


def zeroing_two(ultracall: Callable[..., Operation[Any]]) -> Begin:
    """Return the action of an ultracall on two GFNs after which both pages are zero."""

    def begin(world: Target, gfn: int) -> tuple[Operation[Any], bytes]:
        zeroed = [each for each in (gfn, gfn + 1) if world.at_uv(each) not in KEPT_SHARED]
        for each in zeroed:
            world.oracle.also(each, ZERO)
        return ultracall(world.system, LPID, gfn, 2), ZERO if zeroed else b""

    return begin


zeroing_share: Final = zeroing(operations.share)
zeroing_share_of_two: Final = zeroing_two(operations.share)


def share(world: Target, gfn: int) -> tuple[Operation[Any], bytes]:
    """Make UV_SHARE_PAGE; a store of another vCPU may go to the page before it is shared, or afterwards."""
    world.is_shared_meanwhile(gfn)
    return zeroing_share(world, gfn)


def share_two(world: Target, gfn: int) -> tuple[Operation[Any], bytes]:
    """Make UV_SHARE_PAGE for two GFNs."""
    world.is_shared_meanwhile(gfn)
    world.is_shared_meanwhile(gfn + 1)
    return zeroing_share_of_two(world, gfn)


def unshare_all(world: Target, _: int) -> tuple[Operation[Any], bytes]:
    """Make UV_UNSHARE_ALL_PAGES."""
    for gfn in range(world.system.plan.pages):
        if world.at_uv(gfn) in {S.SHARED, S.SHARED_INV}:
            world.oracle.also(gfn, ZERO)
    return operations.unshare_all(world.system, LPID), ZERO


def written(world: Target, gfn: int, values: frozenset[bytes], outcome: str) -> None:
    """Let the page hold what was written last, where it was written."""
    if outcome in {"resolved", "U_SUCCESS"} and values & world.oracle.may[gfn]:
        world.oracle.may[gfn] = values


def two_written(world: Target, gfn: int, values: frozenset[bytes], outcome: str) -> None:
    """Let each of two pages hold what was written last to it."""
    for each in (gfn, gfn + 1):
        written(world, each, values & world.oracle.may[each], outcome)
