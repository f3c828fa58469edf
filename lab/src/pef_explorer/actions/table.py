"""The table of actions: every action of every actor on the small VM.

The footprint of an action is the set of GFNs that it reads or changes; `VM` stands for the VM as a whole. Two
open calls with disjoint footprints can't observe each other, so only one order of them is explored.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from pef_explorer.actions import guest, host
from pef_explorer.actions.action import (
    Action,
    has_no_vm,
    has_vm,
    is_no_longer_newest,
    is_secure,
    is_there,
    may_be_kept,
    may_end,
    nothing,
    plugged,
    runs_secure,
    two_run_secure,
    unplugged,
)
from pef_explorer.actions.move import GUESTS, MEMORY, VM, VMM, Move
from pef_explorer.actions.names import ActionName, ExtraActionName
from pef_explorer.machines import operations
from pef_explorer.plan import Extra, Plan

REPLACE: Final = ActionName.REPLACE.value
STORE: Final = ActionName.STORE.value
SHARES: Final = frozenset({ActionName.SHARE.value, ExtraActionName.SHARE_TWO.value})
PAIR: Final = 2
PAGE_OUT: Final = ActionName.PAGE_OUT.value
UV_ESM: Final = ActionName.ESM.value
ESM_FAILS: Final = ActionName.BAD_ESM.value

GUEST_ACTIONS: Final = (
    Action(ActionName.LOAD.value, guest.load, nothing, is_there),
    Action(ActionName.STORE.value, guest.store, guest.written, is_there),
    Action(ActionName.SHARE.value, guest.share, guest.written, runs_secure),
    Action(ActionName.UNSHARE.value, guest.zeroing(operations.unshare), guest.written, runs_secure),
    Action(
        ExtraActionName.SHARE_TWO.value,
        guest.share_two,
        guest.two_written,
        two_run_secure,
        pages=2,
        extra=Extra.RANGE,
    ),
    Action(
        ExtraActionName.UNSHARE_TWO.value,
        guest.zeroing_two(operations.unshare),
        guest.two_written,
        two_run_secure,
        pages=2,
        extra=Extra.RANGE,
    ),
    Action(ActionName.UNSHARE_ALL.value, guest.unshare_all, nothing, is_secure, whole=True),
    Action(ActionName.REBOOT.value, host.reset, host.was_reset, has_vm, whole=True),
)
VMM_ACTIONS: Final = (
    Action(ActionName.HOST_READ.value, host.host_read, nothing, is_there),
    Action(ActionName.HOST_WRITE.value, host.host_write, host.host_wrote, is_there),
    Action(
        ExtraActionName.KEEP.value,
        host.keep,
        host.was_kept,
        may_be_kept,
        extra=Extra.OLD_CIPHERTEXT,
    ),
    Action(
        ExtraActionName.WRITE_KEPT.value,
        host.write_kept,
        host.host_wrote,
        is_no_longer_newest,
        extra=Extra.OLD_CIPHERTEXT,
    ),
    Action(ActionName.RESET.value, host.reset, host.was_reset, has_vm, whole=True),
    Action(ActionName.HOT_ADD.value, host.add, nothing, unplugged, plug=True),
    Action(
        REPLACE,
        host.replace,
        host.was_made,
        may_end,
        whole=True,
    ),
    Action(ActionName.CREATE.value, host.create, host.was_made, has_no_vm, whole=True),
    Action(ActionName.HOT_REMOVE.value, host.remove, nothing, plugged, plug=True),
)
MEMORY_ACTIONS: Final = (
    Action(PAGE_OUT, host.host_read, nothing, is_there),
    Action(ActionName.UNMAP.value, host.unmap, host.unmapped, is_there),
)
ACTIONS: Final = {each.name: each for each in (*GUEST_ACTIONS, *VMM_ACTIONS, *MEMORY_ACTIONS)}


def starts(plan: Plan) -> Iterator[tuple[Move, Action, frozenset[int]]]:
    """Yield every action that there is in `plan`, with its footprint."""
    rows = [(vcpu, GUEST_ACTIONS) for vcpu in GUESTS[: plan.vcpus]]
    for actor, actions in (*rows, (VMM, VMM_ACTIONS), (MEMORY, MEMORY_ACTIONS)):
        for action in actions:
            if (action.plug and not plan.plug) or (action.extra and action.extra not in plan.extras):
                continue
            of_all = action.whole or action.plug
            for gfn in (VM,) if of_all else range(plan.pages - action.pages + 1):
                yield Move(actor, action.name, gfn), action, action.footprint(plan, gfn)


def is_new(plan: Plan, move: Move, begun: Mapping[str, str]) -> bool:
    """Tell whether a move is no duplicate of another: paging out is a host read by another actor.

    Where two calls can meet, it makes a difference only where the VMM makes the other. `begun` has what each
    actor has open.
    """
    if plan.calls > PAIR:
        return True
    if move.action == PAGE_OUT:
        return not begun or VMM in begun
    return move.actor == VMM or PAGE_OUT not in begun.values()
