"""This side's tables: what becomes of a GFN and of a VM, event by event.

Handlers look up in these tables what to do, and do it; no state is compared elsewhere to decide what an event
means. A design is the table of four states with a few cells exchanged (see `pef_hypervisor.designs`).

Source: specification of the Hypervisor, sections 2 (GFN), 3 (VM) and 4 (events as the real code behaves).
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final, TypeAlias

from pef_kit.core.table import Cell, Table
from pef_protocol.codes import Code, HCode
from pef_protocol.states import HvGfnState, HvVmState


class GfnEvent(IntEnum):
    """What happens to a GFN."""

    PAGE_IN = 0
    """H_SVM_PAGE_IN with flags 0: the page is to be secure."""
    SHARE = 1
    """H_SVM_PAGE_IN with H_PAGE_IN_SHARED."""
    PAGE_OUT = 2
    """H_SVM_PAGE_OUT."""
    HOST_TOUCH = 3
    """The host reads or writes the page."""
    UNMAP = 4
    """The host takes the normal page away from the guest, as swapping does."""
    INIT_DONE = 5
    """H_SVM_INIT_DONE finds the page unmigrated: the Ultravisor did not ask for it."""
    INIT_ABORT = 6
    """H_SVM_INIT_ABORT: the VM goes on as a normal one."""
    FORGET = 7
    """The VM is reset, or the slot is removed."""
    PLUG = 8
    """The slot has just been added to a transient or secure VM."""


class GfnAction(IntEnum):
    """What has to be done so that a GFN gets its next state."""

    NOTHING = 0
    MARK = 1
    """Take a device page, send nothing: the Ultravisor's frame is zero already."""
    PAGE_IN = 2
    """Take a device page, offer the normal page by UV_PAGE_IN, then scrub it and give it back."""
    SHARE = 3
    """Offer the normal page, a fresh one where the GFN is secure, by UV_PAGE_IN, to be shared."""
    PAGE_OUT = 4
    """Ask by UV_PAGE_OUT for the encrypted page, give the device page back."""
    INVALIDATE = 5
    """Send UV_PAGE_INVAL."""
    DROP = 6
    """Give the device page back, without UV_PAGE_OUT."""
    RESTORE_CLEARTEXT = 7
    """Get back in clear, by UV_PAGE_OUT, what was imported; give the device page back."""
    RESTORE_STAND_IN = 8
    """Ask by UV_PAGE_OUT for a page that came in place of a secure one: a shared one stays, one that is in
    its frame comes back in clear; one that is paged out is sent in by UV_PAGE_IN, then restored in clear."""


class VmEvent(IntEnum):
    """What happens to a VM."""

    START_VM = 0
    """The VM runs its kernel as a normal VM."""
    INIT_START = 1
    INIT_DONE = 2
    INIT_ABORT = 3
    UV_SVM_TERMINATE = 4


class VmAction(IntEnum):
    """What has to be done to a VM."""

    NOTHING = 0
    REGISTER = 1
    """Register every slot, in descending order."""
    SECURE_REMAINING = 2
    """Treat the unmigrated GFNs as the design says."""
    RESTORE_CLEARTEXT = 3
    """Get the memory back in clear, then end the SVM."""
    WIPE = 4
    """Forget the secure pages; end the SVM where there is one."""


N: Final = HvGfnState.NORMAL
"""The normal page is all there is.

Bytes: guest and host touch it, and the Ultravisor only where it is offered by UV_PAGE_IN. Set when the memory
of an SVM is given back or dropped. In a design of two states it also stands for P and H: its bytes may then
be ciphertext, or shared. Invariant: `normal_vms_are_plain`.
"""
S: Final = HvGfnState.SECURE
"""The page is in secure memory, or reads as zero there. It holds one device page.

Bytes: nobody on this side; the normal page was scrubbed. Set once UV_PAGE_IN is accepted, or by MARK; cleared
once UV_PAGE_OUT or a share is accepted, or when the SVM has ended. Invariants: `secure_pages_left`,
`device_pages_add_up`.
"""
P: Final = HvGfnState.PAGED_OUT
"""The normal page holds what UV_PAGE_OUT gave: ciphertext of a live SVM.

Bytes: the host may read and even write them, and the Ultravisor finds that out when the page comes in. No
guest reads them. Set once UV_PAGE_OUT is accepted; cleared by the next page-in, share, abort or reset.
Invariant: `visible_pages_are_there`.
"""
H: Final = HvGfnState.SHARED
"""The SVM shares the normal page with the host.

Bytes: host and SVM touch them at any time. Set once UV_PAGE_IN of a share is accepted; cleared by the next
page-in to be secure, by abort or reset. Invariant: `visible_pages_are_there`.
"""

GfnCell: TypeAlias = Cell[HvGfnState, GfnAction]
GfnCells: TypeAlias = Mapping[GfnEvent, Mapping[HvGfnState, GfnCell]]
GfnTable: TypeAlias = Table[HvGfnState, GfnEvent, GfnAction]


def to(
    next_state: HvGfnState, action: GfnAction = GfnAction.NOTHING, code: Code = HCode.H_SUCCESS
) -> GfnCell:
    """Return a cell of the GFN table."""
    return Cell(next_state, code, action)


STAY: Final[Mapping[HvGfnState, GfnCell]] = {state: to(state) for state in HvGfnState}

FOUR_STATES_CELLS: Final[GfnCells] = {
    GfnEvent.PAGE_IN: {
        N: to(S, GfnAction.PAGE_IN),
        S: to(S, GfnAction.NOTHING, HCode.H_PARAMETER),
        P: to(S, GfnAction.PAGE_IN),
        H: to(S, GfnAction.PAGE_IN),
    },
    GfnEvent.SHARE: {
        N: to(H, GfnAction.SHARE),
        S: to(H, GfnAction.SHARE),
        P: to(H, GfnAction.SHARE),
        H: to(H, GfnAction.SHARE),
    },
    GfnEvent.PAGE_OUT: {**STAY, S: to(P, GfnAction.PAGE_OUT)},
    GfnEvent.HOST_TOUCH: {**STAY, S: to(P, GfnAction.PAGE_OUT)},
    GfnEvent.UNMAP: {**STAY, H: to(H, GfnAction.INVALIDATE)},
    GfnEvent.INIT_DONE: {**STAY, N: to(S, GfnAction.MARK)},
    GfnEvent.INIT_ABORT: {
        N: to(N),
        S: to(N, GfnAction.RESTORE_CLEARTEXT),
        P: to(N, GfnAction.RESTORE_STAND_IN),
        H: to(N),
    },
    GfnEvent.FORGET: {N: to(N), S: to(N, GfnAction.DROP), P: to(N), H: to(N)},
    GfnEvent.PLUG: {**STAY, N: to(S, GfnAction.MARK)},
}
"""The cells of four states; `tracked` has them as they stand."""


class FaultEvent(IntEnum):
    """What only a design has in which a guest's fault is reflected."""

    GUEST_FAULT = 0
    """The SVM touched a page that the Ultravisor has no mapping for, and left the deciding to this side."""


FAULT_TABLE: Final[Table[HvGfnState, FaultEvent, GfnAction]] = Table(
    HvGfnState,
    FaultEvent,
    {
        FaultEvent.GUEST_FAULT: {
            N: to(N, GfnAction.SHARE),
            S: to(S),
            P: to(P, GfnAction.SHARE),
            H: to(H, GfnAction.SHARE),
        }
    },
)
"""The kernel's fault handler, in every design alike: it sends what is not secure, and changes no state.

Source: specification of the Hypervisor, section 4, "guest faults, VM secure".
"""


def cells_of(states: frozenset[HvGfnState], cells: GfnCells) -> GfnCells:
    """Return the cells of four states with some exchanged, for a design that keeps `states` of a GFN.

    What it does not keep is NORMAL to it. A page that the host unmaps may then be a shared one: so the
    Ultravisor is told of each.
    """
    unmapped = {} if H in states else {N: to(N, GfnAction.INVALIDATE)}
    four = {event: {**row, **cells.get(event, {})} for event, row in FOUR_STATES_CELLS.items()}
    four[GfnEvent.UNMAP] = {**FOUR_STATES_CELLS[GfnEvent.UNMAP], **unmapped, **cells.get(GfnEvent.UNMAP, {})}
    return {
        event: {
            state: Cell(cell.next_state if cell.next_state in states else N, cell.code, cell.action)
            for state, cell in row.items()
        }
        for event, row in four.items()
    }


def wanting(table: GfnTable, event: GfnEvent, *actions: GfnAction) -> tuple[HvGfnState, ...]:
    """Return the states of a GFN in which `event` wants one of `actions`."""
    return tuple(state for state in HvGfnState if table.cells[event][state].action in actions)


NORMAL: Final = HvVmState.NORMAL
"""The VM runs here, and the host may touch all its memory. Every GFN is N, and no slot is registered.

Set at creation, when H_SVM_INIT_ABORT or reset has ended the SVM, and when the Ultravisor is another one.
Invariant: `normal_vms_are_plain`.
"""
TRANSIENT: Final = HvVmState.TRANSIENT
"""UV_ESM is open: from H_SVM_INIT_START until H_SVM_INIT_DONE, H_SVM_INIT_ABORT or reset.

Guest accesses are refused here; the Ultravisor moves pages by hypercalls. With `must_abort` it is what is
left of an SVM that failed, and only abort and reset lead on. Invariant: `started_vms_are_registered`.
"""
SECURE: Final = HvVmState.SECURE
"""The VM is an SVM: it runs under the Ultravisor, and its secure pages are out of this side's reach.

Set by H_SVM_INIT_DONE alone; only reset and destroy lead on. Invariant: `started_vms_are_registered`.
"""

VmCell: TypeAlias = Cell[HvVmState, VmAction]


def into(next_state: HvVmState, action: VmAction = VmAction.NOTHING, code: Code = HCode.H_SUCCESS) -> VmCell:
    """Return a cell of the VM table."""
    return Cell(next_state, code, action)


def error(state: HvVmState, code: HCode) -> VmCell:
    """Return a cell that refuses an event and leaves the VM as it is."""
    return Cell(state, code, VmAction.NOTHING)


VM_TABLE: Final[Table[HvVmState, VmEvent, VmAction]] = Table(
    HvVmState,
    VmEvent,
    {
        VmEvent.START_VM: {
            NORMAL: into(NORMAL),
            TRANSIENT: error(TRANSIENT, HCode.H_STATE),
            SECURE: error(SECURE, HCode.H_STATE),
        },
        VmEvent.INIT_START: {
            NORMAL: into(TRANSIENT, VmAction.REGISTER),
            TRANSIENT: error(TRANSIENT, HCode.H_STATE),
            SECURE: error(SECURE, HCode.H_STATE),
        },
        VmEvent.INIT_DONE: {
            NORMAL: error(NORMAL, HCode.H_UNSUPPORTED),
            TRANSIENT: into(SECURE, VmAction.SECURE_REMAINING),
            SECURE: error(SECURE, HCode.H_STATE),
        },
        VmEvent.INIT_ABORT: {
            NORMAL: error(NORMAL, HCode.H_UNSUPPORTED),
            TRANSIENT: into(NORMAL, VmAction.RESTORE_CLEARTEXT, HCode.H_PARAMETER),
            SECURE: error(SECURE, HCode.H_STATE),
        },
        VmEvent.UV_SVM_TERMINATE: {
            NORMAL: into(NORMAL),
            TRANSIENT: into(NORMAL, VmAction.WIPE),
            SECURE: into(NORMAL, VmAction.WIPE),
        },
    },
)
"""The VM's life. H_SVM_INIT_ABORT done is H_PARAMETER: the guest reads it, and must learn of the failure."""


def vm_cell(event: VmEvent, state: HvVmState) -> VmCell:
    """Return what `event` means for a VM in `state`."""
    return VM_TABLE.cells[event][state]
