"""What the machines show at a node, for its frame."""

from collections.abc import Iterator, Mapping
from typing import Final, Literal

from pef_explorer.actions.oracle import BLANK, ZERO
from pef_explorer.machines.open_call import OpenCall, Pending
from pef_explorer.machines.small_memory import KNOWN_BYTES, TOKEN_BYTES
from pef_explorer.machines.system import ROOM
from pef_explorer.session.arrows import stack_of
from pef_explorer.session.choices import next_phase
from pef_explorer.session.frame import GfnRun, Marks, ShownCall, ShownVm, StackEntry
from pef_explorer.session.node import Begun
from pef_explorer.world.observation import ABSENT
from pef_explorer.world.quiescence import NOT_GENUINE, peek
from pef_explorer.world.world import World
from pef_hypervisor.gfn import columns as hv_columns
from pef_kit.core.effects import PeerCall
from pef_lab.agreement import agreeing_states
from pef_protocol.calls import Reply
from pef_protocol.events import Side
from pef_protocol.states import HvGfnState, HvVmState, UvGfnState, UvVmState
from pef_ultravisor.gfn import columns as uv_columns

NOTHING: Final = "nothing"
NO_SVM: Final = "no SVM"
TOKEN_KNOWN: Final = 3
"""Bytes of a token that say who wrote it; the others are zero."""
HV_MARKS: Final = ("BUSY", "HOST_POPULATED", "STAND_IN", "SENT")
UV_MARKS: Final = (
    "BUSY",
    "HCALL_PENDING",
    "REQUESTED",
    "IMPORTED",
    "REFERENCED",
    "FRAME_POPULATED",
    "RESERVED",
)
HV_BITS: Final = {getattr(hv_columns, name): name for name in HV_MARKS}
UV_BITS: Final = {getattr(uv_columns, name): name for name in UV_MARKS}


def vm_of(world: World) -> ShownVm:
    """Return the VM as both sides have it."""
    system, now = world.system, world.now
    vm, svm = system.vm, system.svm
    own = [] if vm is None else [("must abort", vm.must_abort), ("abort due", vm.abort_due)]
    own += [] if vm is None else [("must reset", vm.must_reset)]
    theirs = [] if svm is None else [("H_SVM_INIT_DONE outstanding", svm.done_outstanding)]
    return ShownVm(
        hypervisor="no VM" if vm is None else HvVmState(vm.state).name,
        ultravisor=NO_SVM if svm is None else UvVmState(svm.state).name,
        marks=Marks(hypervisor=_set(own), ultravisor=_set(theirs)),
        device_pages=(sum(now.pool[:3]), ROOM),
        frames=(system.uv.resident + system.uv.reserved, ROOM),
    )


def gfns_of(world: World, *, quiescent: bool) -> tuple[GfnRun, ...]:
    """Return each GFN of both slots as both sides have it."""
    return tuple(_gfn(world, gfn, quiescent=quiescent) for gfn in range(world.plan.pages))


def _gfn(world: World, gfn: int, *, quiescent: bool) -> GfnRun:
    now = world.now
    hv, uv = now.hv[gfn], world.at_uv(gfn)
    return GfnRun(
        first=gfn,
        count=1,
        part=world.plan.parts[gfn].value if gfn not in world.plan.plugged else "plugged",
        hypervisor=NOTHING if hv == ABSENT else HvGfnState(hv).name,
        ultravisor=NOTHING if uv is None else uv.name,
        joint=_joint(world, hv, uv, quiescent=quiescent),
        hv_marks=_named(now.hv_marks[gfn], HV_BITS),
        uv_marks=_named(now.uv_marks[gfn], UV_BITS),
        guest_page=_guest_page(world, gfn),
        host_page=_host_page(world, gfn),
    )


def _joint(
    world: World, hv: int, uv: UvGfnState | None, *, quiescent: bool
) -> Literal["agrees", "in flight", "differs"]:
    """Tell whether both sides agree on a GFN; while something is open, what differs is in flight."""
    if hv == ABSENT or uv is None:
        agrees = uv is None and hv in {ABSENT, HvGfnState.NORMAL}
    else:
        agrees = uv in agreeing_states(world.plan.design)[HvGfnState(hv)]
    return "agrees" if agrees else "differs" if quiescent else "in flight"


def _guest_page(world: World, gfn: int) -> str:
    value = peek(world, gfn)
    if value is None:
        return "none"
    if value == ZERO:
        return "zero"
    return "as written" if value != NOT_GENUINE and value in world.oracle.may[gfn] else "other"


def _host_page(world: World, gfn: int) -> str:
    """Return what stands in normal memory for a GFN; a read by the host may move the page there first."""
    page = world.system.normal_page(gfn)
    if page is None:
        return "none"
    held = world.now.normal[page]
    if held == BLANK:
        return "zero"
    if held[TOKEN_BYTES:] != ZERO:  # what the host writes has a token in front
        return "other" if held[TOKEN_KNOWN:TOKEN_BYTES] == ZERO[TOKEN_KNOWN:] else "ciphertext"
    return "as written" if held[:TOKEN_BYTES] in world.oracle.may[gfn] else "other"


def page_of(world: World, gfn: int) -> tuple[bytes | None, bytes | None]:
    """Return the known bytes of a page as the guest would find them, and as they stand in normal memory."""
    value, page = peek(world, gfn), world.system.normal_page(gfn)
    guest = None if value is None or value == NOT_GENUINE else value.ljust(KNOWN_BYTES, b"\0")
    return guest, None if page is None else world.now.normal[page]


def calls_of(world: World, begun: Mapping[str, Begun]) -> Iterator[ShownCall]:
    """Yield what is under way, in the order in which it began."""
    for actor, each in sorted(begun.items(), key=lambda item: item[1].number):
        one = world.open.get(actor)
        stack: tuple[StackEntry, ...]
        if one is None:
            esm = StackEntry(side=Side.ULTRAVISOR.value, call="UV_ESM")
            stack, waits_for = (esm,), f"the next phase: {next_phase(world)}"
        else:
            stack, waits_for = stack_of(one), _waits_for(one.call, one.call.side)
        gfn = None if each.gfn < 0 else each.gfn
        yield ShownCall(actor=actor, action=each.action, gfn=gfn, stack=stack, waits_for=waits_for)


def _waits_for(call: OpenCall, outermost: Side) -> str:
    here = outermost if call.depth % 2 else next(side for side in Side if side is not outermost)
    effect = call.effect
    if isinstance(effect, PeerCall):
        return f"{here.value} asks {effect.name}"
    if isinstance(effect, Reply):
        answering = next(side for side in Side if side is not here)
        return f"{answering.value} answers {effect.code.name}"
    words = {Pending.TRANSFER: "moves pages", Pending.WORK: "works", Pending.PAUSE: "waits"}
    return f"{here.value} {words.get(call.pending, call.pending.value)}"


def _named(marks: int, bits: Mapping[int, str]) -> tuple[str, ...]:
    return tuple(name for bit, name in bits.items() if marks & bit)


def _set(marks: list[tuple[str, bool]]) -> tuple[str, ...]:
    return tuple(name for name, is_set in marks if is_set)
