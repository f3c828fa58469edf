"""The table of actions: every action of every actor in a search of the small VM.

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
    plugged,
    runs_secure,
    two_run_secure,
    unplugged,
)
from pef_explorer.actions.move import GUESTS, MEMORY, VM, VMM, Move
from pef_explorer.actions.names import ActionName, ExtraActionName
from pef_explorer.machines.small_memory import KNOWN_BYTES
from pef_explorer.plan import Extra, Plan

REPLACE: Final = ActionName.REPLACE.value
STORE: Final = ActionName.STORE.value
SHARES: Final = frozenset({ActionName.SHARE.value, ExtraActionName.SHARE_TWO.value})
PAIR: Final = 2
PAGE_OUT: Final = ActionName.PAGE_OUT.value
UV_ESM: Final = ActionName.ESM.value
ESM_FAILS: Final = ActionName.BAD_ESM.value

GUEST_ACTIONS: Final = (
    Action(ActionName.LOAD.value, is_there),
    Action(ActionName.STORE.value, is_there, guest.store, guest.written),
    Action(ActionName.SHARE.value, runs_secure, guest.share, guest.written),
    Action(ActionName.UNSHARE.value, runs_secure, guest.unshare, guest.written),
    Action(
        ExtraActionName.SHARE_TWO.value,
        two_run_secure,
        guest.share,
        guest.two_written,
        pages=2,
        extra=Extra.RANGE,
    ),
    Action(
        ExtraActionName.UNSHARE_TWO.value,
        two_run_secure,
        guest.unshare,
        guest.two_written,
        pages=2,
        extra=Extra.RANGE,
    ),
    Action(ActionName.UNSHARE_ALL.value, is_secure, guest.unshare_all),
    Action(ActionName.REBOOT.value, has_vm, host.reset, host.was_reset),
)
VMM_ACTIONS: Final = (
    Action(ActionName.HOST_READ.value, is_there),
    Action(ActionName.HOST_WRITE.value, is_there, host.host_write, host.host_wrote),
    Action(
        ExtraActionName.KEEP.value,
        may_be_kept,
        end=host.was_kept,
        length=KNOWN_BYTES,
        extra=Extra.OLD_CIPHERTEXT,
    ),
    Action(
        ExtraActionName.WRITE_KEPT.value,
        is_no_longer_newest,
        host.write_kept,
        host.host_wrote,
        extra=Extra.OLD_CIPHERTEXT,
    ),
    Action(ActionName.RESET.value, has_vm, host.reset, host.was_reset),
    Action(ActionName.HOT_ADD.value, unplugged, host.plug),
    Action(REPLACE, may_end, end=host.was_made),
    Action(ActionName.CREATE.value, has_no_vm, end=host.was_made),
    Action(ActionName.HOT_REMOVE.value, plugged),
)
MEMORY_ACTIONS: Final = (
    Action(PAGE_OUT, is_there),
    Action(ActionName.UNMAP.value, is_there, end=host.unmapped),
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
