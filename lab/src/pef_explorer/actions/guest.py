"""The actions of the guest: loads, stores and ultracalls, and the tokens that its pages may then hold."""

from collections.abc import Callable
from typing import Any

from pef_explorer.actions.action import PRIVATE, Begin, Target
from pef_explorer.actions.oracle import OPEN, SECRET, ZERO
from pef_explorer.machines.small_memory import TOKEN_BYTES
from pef_explorer.machines.system import LPID
from pef_kit.operations import Operation
from pef_protocol.calls import Reply
from pef_protocol.quantities import Gfn, gpa_of
from pef_protocol.states import UvGfnState as S
from pef_protocol.ultracalls import UnshareAllPages
from pef_protocol.wire import Caller, Role
from pef_ultravisor.from_guest.accesses import guest_load, guest_store
from pef_ultravisor.handlers import ultracall


def load(world: Target, gfn: int) -> tuple[Operation[Any], bytes]:
    """Load a token."""
    if world.oracle.secure:
        return guest_load(world.system.uv, LPID, gpa_of(gfn), TOKEN_BYTES), b""
    return world.system.hv.load(LPID, gpa_of(gfn), TOKEN_BYTES), b""


def store(world: Target, gfn: int) -> tuple[Operation[Any], bytes]:
    """Store a token."""
    secret = world.oracle.secure and world.at_uv(gfn) in PRIVATE
    token = world.token(SECRET if secret else OPEN, gfn)
    world.oracle.also(gfn, token)
    if world.oracle.secure:
        return guest_store(world.system.uv, LPID, gpa_of(gfn), token), token
    return world.system.hv.store_bytes(LPID, gpa_of(gfn), token), token


def kernel(world: Target, name: str, request: object) -> Operation[Reply]:
    """Return an ultracall of the guest's kernel."""
    return ultracall(world.system.uv, Caller(Role.GUEST, LPID), name, request)


def zeroing(name: str, request: Callable[[Gfn, int], object]) -> Begin:
    """Return the action of an ultracall after which the page is zero."""

    def begin(world: Target, gfn: int) -> tuple[Operation[Any], bytes]:
        kept = world.at_uv(gfn) in {S.SHARED_IMPLICIT, S.SHARED_IMPLICIT_INV}
        if not kept:
            world.oracle.also(gfn, ZERO)
        return kernel(world, name, request(Gfn(gfn), 1)), b"" if kept else ZERO

    return begin


def unshare_all(world: Target, _: int) -> tuple[Operation[Any], bytes]:
    """Make UV_UNSHARE_ALL_PAGES."""
    for gfn in range(world.system.plan.pages):
        if world.at_uv(gfn) in {S.SHARED, S.SHARED_INV}:
            world.oracle.also(gfn, ZERO)
    return kernel(world, "UV_UNSHARE_ALL_PAGES", UnshareAllPages()), ZERO


def written(world: Target, gfn: int, values: frozenset[bytes], outcome: str) -> None:
    """Let the page hold what was written last, where it was written."""
    if outcome in {"resolved", "U_SUCCESS"} and values & world.oracle.may[gfn]:
        world.oracle.may[gfn] = values
