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
    is_secure,
    is_there,
    may_end,
    nothing,
    plugged,
    runs_secure,
    unplugged,
)
from pef_explorer.actions.move import GUESTS, MEMORY, VM, VMM, Move
from pef_explorer.plan import Plan
from pef_protocol.ultracalls import SharePage, UnsharePage

REPLACE: Final = "destroy + create"
PAIR: Final = 2
PAGE_OUT: Final = "page out"
UV_ESM: Final = "UV_ESM"
ESM_FAILS: Final = "UV_ESM with a bad image"

GUEST_ACTIONS: Final = (
    Action("load", guest.load, nothing, is_there),
    Action("store", guest.store, guest.written, is_there),
    Action("share", guest.zeroing("UV_SHARE_PAGE", SharePage), guest.written, runs_secure),
    Action("unshare", guest.zeroing("UV_UNSHARE_PAGE", UnsharePage), guest.written, runs_secure),
    Action("unshare all", guest.unshare_all, nothing, is_secure, whole=True),
    Action("reboot", host.reset, host.was_reset, has_vm, whole=True),
)
VMM_ACTIONS: Final = (
    Action("host read", host.host_read, nothing, is_there),
    Action("host write", host.host_write, host.host_wrote, is_there),
    Action("reset", host.reset, host.was_reset, has_vm, whole=True),
    Action("hot-add", host.add, nothing, unplugged, plug=True),
    Action(
        REPLACE,
        host.replace,
        host.was_made,
        may_end,
        whole=True,
    ),
    Action("create", host.create, host.was_made, has_no_vm, whole=True),
    Action("hot-remove", host.remove, nothing, plugged, plug=True),
)
MEMORY_ACTIONS: Final = (
    Action(PAGE_OUT, host.host_read, nothing, is_there),
    Action("unmap", host.unmap, host.unmapped, is_there),
)
ACTIONS: Final = {each.name: each for each in (*GUEST_ACTIONS, *VMM_ACTIONS, *MEMORY_ACTIONS)}


def starts(plan: Plan) -> Iterator[tuple[Move, Action, frozenset[int]]]:
    """Yield every action that there is in `plan`, with its footprint."""
    rows = [(vcpu, GUEST_ACTIONS) for vcpu in GUESTS[: plan.vcpus]]
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
    if move.action == PAGE_OUT:
        return not begun or VMM in begun
    return move.actor == VMM or PAGE_OUT not in begun.values()
