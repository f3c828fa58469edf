"""Still states, made ready to go on from: what the pages hold is settled, and no page is left blank.

What bytes a page holds decides nothing in either machine, so one value stands for all. But zero would not
show when something is lost. So the guest stores into every page that it can reach and that holds nothing yet;
and a still state with a page that is out and holds zero is gone on from only if its like with bytes is never
found.
"""

from typing import Final

from pef_explorer.actions.move import GO_ON, GUESTS, Move
from pef_explorer.actions.oracle import OPEN, ZERO, Oracle
from pef_explorer.machines.small_memory import TOKEN_BYTES
from pef_explorer.world.state_key import key_of
from pef_explorer.world.world import World
from pef_hypervisor.gfn.columns import HOST_POPULATED
from pef_protocol.states import UvGfnState, UvVmState

GONE: Final = frozenset({UvGfnState.SHARED_INV, UvGfnState.SHARED_IMPLICIT_INV})
NOT_GENUINE: Final = b"not genuine"
OUT: Final = frozenset({UvGfnState.PAGEDOUT, UvGfnState.SHARED_INV})


def rest(world: World) -> tuple[Move, ...]:
    """Let each page hold what it does hold, and the guest store where that is nothing; return the moves."""
    settle_contents(world)
    made = tuple(refresh(world))
    settle_contents(world)
    return made


def refresh(world: World) -> list[Move]:
    """Have the guest store to each page of its own that reads as zero, so that what befalls it shows.

    It also stores a secret over what others have seen in a page that is private now.

    Return the stores that were made.
    """
    made: list[Move] = []
    if world.system.svm is not None and world.system.svm.state is not UvVmState.SECURE:
        return made
    for gfn in range(world.plan.pages):
        if wants_store(world, gfn):
            move = Move(GUESTS[0], "store", gfn)
            made.append(move)
            while world.do(move) is None:
                move = Move(GUESTS[0], GO_ON)
                made.append(move)
    return made


def wants_store(world: World, gfn: int) -> bool:
    """Tell whether a page that is in use reads as zero, and a store needs nobody's help."""
    state, now = world.at_uv(gfn), world.now
    if state is UvGfnState.SECURE and world.oracle.secure:
        return not world.oracle.is_secret(now.frames[gfn][:TOKEN_BYTES])
    page = world.system.normal_page(gfn)
    if page is None or now.normal[page][:TOKEN_BYTES] != ZERO:
        return False
    if world.oracle.secure:
        return state is UvGfnState.SHARED
    there = world.system.vm is not None and not world.system.vm.must_reset
    return there and world.system.svm is None and bool(now.hv_marks[gfn] & HOST_POPULATED)


def peek(world: World, gfn: int) -> bytes | None:
    """Return what the guest would find in a page, or None where no load finds anything."""
    state = world.at_uv(gfn)
    page = world.system.normal_page(gfn)
    normal = world.now.normal[page] if page is not None else b""
    if world.system.vm is None or world.system.vm.must_reset:
        return None
    if world.system.svm is None:
        return normal[:TOKEN_BYTES] if page is not None else None
    if state is UvGfnState.SECURE:
        return world.now.frames[gfn][:TOKEN_BYTES] if world.system.svm.state is UvVmState.SECURE else None
    if state in {UvGfnState.SHARED, UvGfnState.SHARED_INV}:
        return normal[:TOKEN_BYTES]
    return (
        _opened(world, gfn, normal)
        if state is UvGfnState.PAGEDOUT and not world.oracle.tainted[gfn]
        else None
    )


def _opened(world: World, gfn: int, normal: bytes) -> bytes:
    svm = world.system.svm
    slot = svm.slots.holding(gfn) if svm else None
    if svm is None or slot is None:
        return b""
    at = gfn - slot.first
    known = svm.sealer.opened(gfn, int(slot.counter[at]), normal, slot.tag[at].tobytes())  # type: ignore[attr-defined]
    return known[:TOKEN_BYTES] if known is not None else NOT_GENUINE


def settle_contents(world: World, *, lenient: bool = True) -> None:
    """Let each page hold only what it does hold, once it has been judged; forget what is past.

    `lenient`: also where that is not what it should hold, for that has been reported.
    """
    oracle = world.oracle
    for gfn in range(world.plan.pages):
        oracle.absent[gfn] = world.at_uv(gfn) in GONE
        if oracle.tainted[gfn] and world.now.aborted:
            continue  # the VM may get back what the host has written since
        if oracle.tainted[gfn] or world.system.normal_page(gfn) is None:
            oracle.only(gfn, ZERO)
            continue
        value = peek(world, gfn)
        if value is not None and (value in oracle.may[gfn] or (lenient and value != NOT_GENUINE)):
            oracle.only(gfn, value)
    pages = (*world.now.normal, *world.now.frames)
    oracle.disclosed &= frozenset().union(*oracle.may) | {page[:TOKEN_BYTES] for page in pages}


def blank(world: World) -> bool:
    """Tell whether a page that is out, or invalidated, holds zero: with bytes it would say more."""
    return any(
        world.at_uv(gfn) in OUT and not world.oracle.tainted[gfn] and ZERO in world.oracle.may[gfn]
        for gfn in range(world.plan.pages)
    )


def key_with_contents(world: World) -> tuple[object, ...]:
    """Return the key that this state would have if each such page were filled."""
    now, oracle = world.now, Oracle(world.plan.pages)
    oracle.thaw(world.oracle.frozen())
    normal = list(now.normal)
    for gfn in range(world.plan.pages):
        state, page = world.at_uv(gfn), world.system.normal_page(gfn)
        if state in OUT and not oracle.tainted[gfn] and ZERO in oracle.may[gfn]:
            token = oracle.new_token(OPEN, gfn, frozenset())
            oracle.only(gfn, token)
            if state is UvGfnState.SHARED_INV and page is not None:
                normal[page] = token + bytes(len(normal[page]) - len(token))
    contents_key = key_of(now._replace(normal=tuple(normal)), oracle)
    return contents_key, (), world.suspended_key(), (world.wire_key(), world.kept_key()), 0
