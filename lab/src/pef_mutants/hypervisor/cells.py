"""Two families of mutants of the Hypervisor's tables: one cell of its GFNs, or of its VMs, is wrong.

What does something succeeds with nothing done, and a refusal becomes a success. Where nothing is to be done,
the GFN is treated as if something were.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Final

from pef_hypervisor.gfn.columns import GfnSets
from pef_hypervisor.gfn.table import (
    FOUR_STATES_CELLS,
    VM_TABLE,
    GfnAction,
    GfnCell,
    GfnEvent,
    H,
    N,
    P,
    S,
    VmCell,
    VmEvent,
    error,
    into,
    to,
)
from pef_hypervisor.memory import host_access
from pef_hypervisor.state import Vm
from pef_kit.core.runs import U8
from pef_mutants.exchange import cells, cells_of_every_design, only_in
from pef_mutants.mutant import GeneratedMutant
from pef_protocol.codes import HCode
from pef_protocol.events import Side
from pef_protocol.states import HvGfnState, HvVmState

TOUCHED_NEEDLESSLY: Final[Mapping[GfnEvent, GfnCell]] = {
    GfnEvent.HOST_TOUCH: to(P, GfnAction.PAGE_OUT),
    GfnEvent.INIT_DONE: to(S, GfnAction.MARK),
    GfnEvent.INIT_ABORT: to(S),
    GfnEvent.FORGET: to(S),
    GfnEvent.PLUG: to(S, GfnAction.MARK),
}
WORDS: Final[Mapping[GfnEvent, tuple[str, ...]]] = {
    GfnEvent.PAGE_IN: ("page-in*", "unshare"),
    GfnEvent.SHARE: ("share*",),
    GfnEvent.PAGE_OUT: ("page-out*",),
    GfnEvent.HOST_TOUCH: ("host-*",),
    GfnEvent.UNMAP: ("unmap*",),
    GfnEvent.INIT_DONE: ("init-done*",),
    GfnEvent.INIT_ABORT: ("init-abort*", "abort-or-terminate"),
    GfnEvent.FORGET: ("reset*", "slot-removed*", "abort-or-terminate"),
    GfnEvent.PLUG: ("slot-added*", "hot-add*"),
}
"""What rows call an event."""
CALLED: Final = frozenset({GfnEvent.PAGE_OUT, GfnEvent.INIT_DONE})
"""Events that a hypercall of that name brings about."""
LETTERS: Final[Mapping[HvGfnState, str]] = {N: "N", S: "S", P: "P", H: "H"}


def wrong_gfn(event: GfnEvent, state: HvGfnState, cell: GfnCell) -> GfnCell:
    """Return what stands in place of a cell, and is wrong."""
    idle = cell == to(state)
    if not idle:
        return to(state)
    if event is GfnEvent.UNMAP:
        return to(state, GfnAction.INVALIDATE)
    return TOUCHED_NEEDLESSLY.get(event, to(state, code=HCode.H_PARAMETER))


def wrong_vm(event: VmEvent, state: HvVmState, cell: VmCell) -> VmCell:
    """Return what stands in place of a cell, and is wrong."""
    if not cell.code.succeeded and cell.next_state is state:
        return into(state, cell.action)
    if event in {VmEvent.START_VM, VmEvent.INIT_ABORT}:
        return error(state, HCode.H_STATE)
    return into(state if cell.next_state is not state else HvVmState.TRANSIENT, cell.action)


@contextmanager
def gfn_cell(event: GfnEvent, state: HvGfnState) -> Iterator[None]:
    """Have one cell of the GFN table be wrong, under every design that keeps the state."""
    with cells_of_every_design({event: {state: wrong_gfn(event, state, FOUR_STATES_CELLS[event][state])}}):
        yield


@contextmanager
def host_touch_of_svms() -> Iterator[None]:
    """Have the host take pages out of an SVM that are normal; a normal VM has none to take out."""
    original = host_access.secure_for_host

    def secure_for_host(vm: Vm, gfn_sets: GfnSets) -> tuple[GfnSets, U8]:
        secure, next_states = original(vm, gfn_sets)
        return (secure, next_states) if vm.state is not HvVmState.NORMAL else ([], next_states[:0])

    with gfn_cell(GfnEvent.HOST_TOUCH, N), only_in(host_access, "secure_for_host", secure_for_host):
        yield


@contextmanager
def vm_cell(event: VmEvent, state: HvVmState) -> Iterator[None]:
    """Have one cell of the VM table be wrong."""
    with cells(VM_TABLE, {event: {state: wrong_vm(event, state, VM_TABLE.cells[event][state])}}):
        yield


def _path(event: GfnEvent | VmEvent) -> str:
    return event.name.lower().replace("_", "-")


def _rows_of(state: HvGfnState, word: str) -> tuple[str, ...]:
    places = f"event/{LETTERS[state]}", "event/none", f"life/{state.name.lower()}", "flow"
    return tuple(f"{place}/{word}" for place in places)


def _of_gfn(event: GfnEvent, state: HvGfnState) -> GeneratedMutant:
    cell, instead = FOUR_STATES_CELLS[event][state], wrong_gfn(event, state, FOUR_STATES_CELLS[event][state])
    way: Callable[[], AbstractContextManager[None]] = partial(gfn_cell, event, state)
    if (event, state) == (GfnEvent.HOST_TOUCH, N):
        way = host_touch_of_svms  # else no SVM could be made
    return GeneratedMutant(
        f"cell/gfn/{state.name}/{event.name}",
        Side.HYPERVISOR,
        f"{event.name} of a GFN in {state.name}: {reported(instead)} instead of {reported(cell)}",
        way,
        ids=(
            *(pattern for word in WORDS[event] for pattern in _rows_of(state, word)),
            *((f"hv/{_path(event)}/success*",) if event in CALLED else ()),
        ),
    )


def _of_vm(event: VmEvent, state: HvVmState) -> GeneratedMutant:
    cell, instead = VM_TABLE.cells[event][state], wrong_vm(event, state, VM_TABLE.cells[event][state])
    return GeneratedMutant(
        f"cell/vm/{state.name}/{event.name}",
        Side.HYPERVISOR,
        f"{event.name} of a VM in {state.name}: {reported(instead)} instead of {reported(cell)}",
        lambda: vm_cell(event, state),
        ids=(
            f"vm/{state.name.lower()}/{_path(event)}*",
            f"hv/{_path(event)}/success",
            *(("hv/init-abort/H_PARAMETER*",) if event is VmEvent.UV_SVM_TERMINATE else ()),
        ),
    )


def reported(cell: GfnCell | VmCell) -> str:
    """Say in words what a cell holds."""
    return f"{cell.code.name}, {cell.action.name}, then {cell.next_state.name}"


GFN_CELLS: Final = tuple(_of_gfn(event, state) for state in HvGfnState for event in GfnEvent)
VM_CELLS: Final = tuple(_of_vm(event, state) for state in HvVmState for event in VmEvent)
