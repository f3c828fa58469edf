"""A side dies, and starts anew with nothing of its memory; then the Hypervisor says hello.

What the other side was doing goes on by itself: it asks again, until its epoch ends. With the Hypervisor its
VM is gone, and another one may be created; with the Ultravisor the VM's SVM is.
"""

from collections.abc import Iterator
from typing import Final

from pef_explorer.actions.move import Move
from pef_explorer.world.state import WorldState
from pef_protocol.events import Side
from pef_protocol.states import HvVmState

DIES: Final = "dies"
HELLO: Final = "hello"


def deaths(world: WorldState) -> Iterator[Move]:
    """Yield the death of each side, and the hello that is due after one."""
    if world.troubles.deaths:
        yield from (Move(side.value, DIES) for side in Side)
    if world.system.apart and HELLO not in world.names:
        yield Move(Side.HYPERVISOR.value, HELLO)


def die(world: WorldState, dead: Side) -> None:
    """Let a side die where everything stands, and start anew."""
    world.troubles = world.troubles._replace(deaths=world.troubles.deaths - 1)
    opened = dict(world.open)
    world.open.clear()
    world.system.entering = world.system.entering if opened and dead is Side.HYPERVISOR else None
    for actor, each in opened.items():
        left = each.call.without(dead)
        if each.call.side is not dead:
            each.call, each.alone = left.pop(0), False
            world.open[actor] = each
        for call in left:
            world.open_unanswered(Move(f"left {len(world.open)}", each.move.action), call)
    if dead is Side.ULTRAVISOR and _may_have_been_secure(world):
        world.lost = True
        world.oracle.loses_its_svm()
    world.system.start(dead)


def _may_have_been_secure(world: WorldState) -> bool:
    vm = world.system.vm
    return world.system.svm is not None or (vm is not None and vm.state is not HvVmState.NORMAL)


def met(world: WorldState) -> None:
    """Note that both sides have an epoch again: what was written since the death may be gone."""
    if world.system.vm is None:
        world.oracle.is_new()
    elif world.lost:
        world.oracle.loses_its_svm()
    elif world.system.svm is None:
        world.oracle.is_normal_again()
    world.lost = False
