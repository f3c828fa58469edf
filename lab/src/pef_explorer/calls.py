"""Everything that anybody may do to the small VM: who, what, to which GFN, and what it may then hold.

An action's footprint is the GFNs that it reads or changes, `VM` standing for the VM as a whole. Two open
calls whose footprints are disjoint can't tell whether the other runs, so only one order of them is explored.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from pef_explorer.faults import Fault
from pef_explorer.oracle import HOST, OPEN, SECRET, ZERO, Oracle
from pef_explorer.plan import Plan, Troubles
from pef_explorer.small_memory import TOKEN_BYTES
from pef_explorer.system import LPID, System
from pef_explorer.wire import NotDone
from pef_hypervisor.checks import Refused
from pef_hypervisor.outcome import Errno, Outcome
from pef_kit.core.life import Ended
from pef_kit.operations import Operation
from pef_protocol.calls import Reply
from pef_protocol.quantities import PAGE_SIZE, Gfn
from pef_protocol.states import UvGfnState as S
from pef_protocol.states import UvVmState
from pef_protocol.ultracalls import SharePage, UnshareAllPages, UnsharePage
from pef_protocol.wire import Caller, Role
from pef_ultravisor.from_guest.accesses import AccessFailure, guest_load, guest_store
from pef_ultravisor.handlers import ultracall

VM: Final = -1
GO_ON: Final = "go on"
PRIVATE: Final = (S.SECURE, S.PAGEDOUT)
GUESTS: Final = ("guest 0", "guest 1")
VMM, MEMORY = "vmm", "memory"


class Move(NamedTuple):
    """One step of a schedule: an actor begins an action, or its open call goes on."""

    actor: str
    does: str
    gfn: int = -1
    fault: Fault | None = None


class World(Protocol):
    """What an action needs of the world that it is done to."""

    system: System
    oracle: Oracle
    troubles: Troubles

    def token(self, kind: bytes, gfn: int) -> bytes:
        """Return a token that is nowhere yet."""

    def at_uv(self, gfn: int) -> S | None:
        """Return the state of a GFN in the Ultravisor, or None."""


Begin = Callable[[World, int], tuple[Operation[Any], bytes]]
End = Callable[[World, int, frozenset[bytes], str], None]


@dataclass(frozen=True, slots=True)
class Action:
    """A row of the table.

    `begin` returns the operation and the value that it may write, or nothing; `end` is told which values the
    page may hold by now, that one and those of calls that were open meanwhile, and how it ended. `whole`: it
    is done to the VM, not to a GFN; `plug`: to slot 1.
    """

    name: str
    begin: Begin
    end: End
    may_be: Callable[[World, int], bool]
    whole: bool = False
    plug: bool = False

    def footprint(self, plan: Plan, gfn: int) -> frozenset[int]:
        """Return the GFNs that it reads or changes."""
        if self.plug:
            return frozenset({VM, *plan.plugged})
        return frozenset({VM, *range(plan.pages)}) if self.whole else frozenset({gfn})


def has_vm(world: World, _: int) -> bool:
    """Allow it where there is a VM."""
    return world.system.vm is not None


def is_there(world: World, gfn: int) -> bool:
    """Allow it where the GFN has a slot."""
    return world.system.normal_page(gfn) is not None


def is_secure(world: World, _: int) -> bool:
    """Allow it in a secure VM."""
    return world.oracle.secure


def runs_secure(world: World, gfn: int) -> bool:
    """Allow it in a secure VM whose GFN has a slot."""
    return world.oracle.secure and is_there(world, gfn)


def plugged(world: World, _: int) -> bool:
    """Allow it where slot 1 is there."""
    return world.system.vm is not None and world.system.vm.slots.get(1) is not None


def unplugged(world: World, gfn: int) -> bool:
    """Allow it in a VM without slot 1."""
    return has_vm(world, gfn) and not plugged(world, gfn)


def may_end(world: World, gfn: int) -> bool:
    """Allow it where another VM may have the lpid."""
    return has_vm(world, gfn) and world.troubles.destroys > 0


def nothing(_: World, __: int, ___: frozenset[bytes], ____: str) -> None:
    """Leave the oracle as it is."""


def written(world: World, gfn: int, values: frozenset[bytes], outcome: str) -> None:
    """Let the page hold what was written last, where it was written."""
    if outcome in {"resolved", "U_SUCCESS"} and values & world.oracle.may[gfn]:
        world.oracle.may[gfn] = values


def _gpa(gfn: int) -> int:
    return gfn * PAGE_SIZE


def _load(world: World, gfn: int) -> tuple[Operation[Any], bytes]:
    if world.oracle.secure:
        return guest_load(world.system.uv, LPID, _gpa(gfn), TOKEN_BYTES), b""
    return world.system.hv.load(LPID, _gpa(gfn), TOKEN_BYTES), b""


def _store(world: World, gfn: int) -> tuple[Operation[Any], bytes]:
    secret = world.oracle.secure and world.at_uv(gfn) in PRIVATE
    token = world.token(SECRET if secret else OPEN, gfn)
    world.oracle.also(gfn, token)
    if world.oracle.secure:
        return guest_store(world.system.uv, LPID, _gpa(gfn), token), token
    return world.system.hv.store_bytes(LPID, _gpa(gfn), token), token


def _kernel(world: World, name: str, request: object) -> Operation[Reply]:
    return ultracall(world.system.uv, Caller(Role.GUEST, LPID), name, request)


def _zeroing(name: str, request: Callable[[Gfn, int], object]) -> Begin:
    def begin(world: World, gfn: int) -> tuple[Operation[Any], bytes]:
        kept = world.at_uv(gfn) in {S.SHARED_IMPLICIT, S.SHARED_IMPLICIT_INV}
        if not kept:
            world.oracle.also(gfn, ZERO)
        return _kernel(world, name, request(Gfn(gfn), 1)), b"" if kept else ZERO

    return begin


def _unshare_all(world: World, _: int) -> tuple[Operation[Any], bytes]:
    for gfn in range(world.system.plan.pages):
        if world.at_uv(gfn) in {S.SHARED, S.SHARED_INV}:
            world.oracle.also(gfn, ZERO)
    return _kernel(world, "UV_UNSHARE_ALL_PAGES", UnshareAllPages()), ZERO


def _reset(world: World, _: int) -> tuple[Operation[Any], bytes]:
    if world.oracle.secure or world.system.svm is not None:
        for gfn in range(world.system.plan.pages):
            world.oracle.also(gfn, ZERO)
    return world.system.hv.reset(LPID), ZERO


def _was_reset(world: World, _: int, __: frozenset[bytes], outcome: str) -> None:
    if outcome != Errno.OK.name:
        return
    pages = world.system.plan.pages
    world.oracle.secure = False
    world.oracle.spoiled = [False] * pages
    world.oracle.away = [False] * pages


def _replace(world: World, _: int) -> tuple[Operation[Any], bytes]:
    return world.system.replace_vm(), b""


def _create(world: World, _: int) -> tuple[Operation[Any], bytes]:
    return world.system.make_vm(), b""


def _was_made(world: World, _: int, __: frozenset[bytes], outcome: str) -> None:
    if outcome == Errno.OK.name:
        world.oracle.is_new()


def _host_read(world: World, gfn: int) -> tuple[Operation[Any], bytes]:
    return world.system.hv.host_read(LPID, _gpa(gfn), TOKEN_BYTES), b""


def _host_write(world: World, gfn: int) -> tuple[Operation[Any], bytes]:
    token = world.token(HOST, gfn)
    return world.system.hv.host_write(LPID, _gpa(gfn), token), token


def _host_wrote(world: World, gfn: int, values: frozenset[bytes], outcome: str) -> None:
    """Note where the host's bytes fell: on ciphertext, or on a page that the guest sees or is to get back."""
    if outcome == ENDED:  # cut off by a death, perhaps when it had written
        world.oracle.may[gfn] |= values
    if outcome != Errno.OK.name:
        return
    svm, state = world.system.svm, world.at_uv(gfn)
    if state is S.PAGEDOUT:
        world.oracle.spoiled[gfn] = True
    elif svm is not None and svm.state is UvVmState.ABORT:
        world.oracle.may[gfn] |= values  # the VM gets back what was imported, or what was written since
    elif svm is None or svm.state is not UvVmState.SECURE or state not in {S.SECURE, None}:
        world.oracle.may[gfn] = values


def _unmap(world: World, gfn: int) -> tuple[Operation[Any], bytes]:
    return world.system.hv.unmap(LPID, _gpa(gfn), 1), b""


def _unmapped(world: World, gfn: int, _: frozenset[bytes], outcome: str) -> None:
    if outcome == Errno.OK.name and world.at_uv(gfn) not in {*PRIVATE, None}:
        world.oracle.away[gfn] = True


def _add(world: World, _: int) -> tuple[Operation[Any], bytes]:
    plan = world.system.plan
    for gfn in plan.plugged:
        world.oracle.only(gfn, ZERO)
        world.oracle.spoiled[gfn] = world.oracle.away[gfn] = False
    return world.system.hv.add_slot(LPID, 1, _gpa(plan.plugged.start), plan.plug * PAGE_SIZE), b""


def _remove(world: World, _: int) -> tuple[Operation[Any], bytes]:
    return world.system.hv.remove_slot(LPID, 1), b""


ENDED: Final = "ended"
REPLACE: Final = "destroy + create"
PAIR: Final = 2
PAGE_OUT: Final = "page out"
UV_ESM: Final = "UV_ESM"
ESM_FAILS: Final = "UV_ESM with a bad image"

GUEST_ACTIONS: Final = (
    Action("load", _load, nothing, is_there),
    Action("store", _store, written, is_there),
    Action("share", _zeroing("UV_SHARE_PAGE", SharePage), written, runs_secure),
    Action("unshare", _zeroing("UV_UNSHARE_PAGE", UnsharePage), written, runs_secure),
    Action("unshare all", _unshare_all, nothing, is_secure, whole=True),
    Action("reboot", _reset, _was_reset, has_vm, whole=True),
)
VMM_ACTIONS: Final = (
    Action("host read", _host_read, nothing, is_there),
    Action("host write", _host_write, _host_wrote, is_there),
    Action("reset", _reset, _was_reset, has_vm, whole=True),
    Action(
        "hot-add", _add, nothing, lambda world, gfn: has_vm(world, gfn) and not plugged(world, gfn), plug=True
    ),
    Action(
        REPLACE,
        _replace,
        _was_made,
        lambda world, gfn: has_vm(world, gfn) and world.troubles.destroys > 0,
        whole=True,
    ),
    Action("create", _create, _was_made, lambda world, gfn: not has_vm(world, gfn), whole=True),
    Action("hot-remove", _remove, nothing, plugged, plug=True),
)
MEMORY_ACTIONS: Final = (
    Action(PAGE_OUT, _host_read, nothing, is_there),
    Action("unmap", _unmap, _unmapped, is_there),
)
ACTIONS: Final = {each.name: each for each in (*GUEST_ACTIONS, *VMM_ACTIONS, *MEMORY_ACTIONS)}


def starts(plan: Plan) -> Iterator[tuple[Move, Action, frozenset[int]]]:
    """Yield every action that there is in `plan`, with its footprint."""
    rows = [(guest, GUEST_ACTIONS) for guest in GUESTS[: plan.vcpus]]
    for actor, actions in (*rows, (VMM, VMM_ACTIONS), (MEMORY, MEMORY_ACTIONS)):
        for action in actions:
            if action.plug and not plan.plug:
                continue
            for gfn in (VM,) if action.whole or action.plug else range(plan.pages):
                yield Move(actor, action.name, gfn), action, action.footprint(plan, gfn)


def is_new(plan: Plan, move: Move, begun: Mapping[str, str]) -> bool:
    """Tell whether a move is no twin of another: paging out is a host read by somebody else.

    Where two calls can meet, it makes a difference only where the VMM makes the other. `begun` has what each
    actor has open.
    """
    if plan.calls > PAIR:
        return True
    if move.does == PAGE_OUT:
        return not begun or VMM in begun
    return move.actor == VMM or PAGE_OUT not in begun.values()


def word_for(outcome: Any, may: frozenset[bytes]) -> str:
    """Return how a call ended, in the words of a schedule; `may` is what a load may find."""
    if isinstance(outcome, Reply):
        return outcome.code.name
    if isinstance(outcome, Outcome):
        return outcome.errno.name
    if isinstance(outcome, bytes | memoryview):
        value = bytes(outcome)
        if value == ZERO:
            return "zero"
        return "as written" if value in may else "other"
    if isinstance(outcome, Ended | NotDone):
        return ENDED
    if outcome is None:
        return "resolved"
    if isinstance(outcome, Refused | AccessFailure):
        return "refused"
    raise outcome


def succeeded(word: str) -> bool:
    """Tell whether a call that ended with `word` did what was asked."""
    return word in {"U_SUCCESS", "OK", "resolved", "as written", "zero", "other"}
