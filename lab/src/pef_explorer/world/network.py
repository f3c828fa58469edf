"""The network between the two machines: copies of messages that it has, and when they may arrive.

A copy is known by what it says, and by how the slot stands that it names: so a state in which a copy is left
can be saved, and is the same state however many calls went before.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from pef_explorer.actions.move import Move
from pef_explorer.machines.faults import Fault
from pef_explorer.machines.open_call import OpenCall, Pending
from pef_explorer.machines.plain import plain
from pef_explorer.machines.wire import KeptReply, Message, NotDone, Wire
from pef_explorer.plan import Troubles
from pef_kit.core.effects import Operation, PeerCall
from pef_kit.core.fence import Message as Arrival
from pef_kit.core.fence import Run
from pef_protocol.calls import Reply
from pef_protocol.identity import CallId, Epoch, Incarnation

NETWORK: Final = "network"
AGAIN: Final = " arrives again"


class Copy(NamedTuple):
    """A message of which the network has a copy; `over`: its slot has carried another one since."""

    name: str
    request: object
    incarnation: Incarnation | None
    epoch: Epoch | None
    call: CallId
    over: bool

    @property
    def key(self) -> tuple[Any, ...]:
        """Return what makes this copy differ from others, but for its epoch and incarnation."""
        return self.name, plain(self.request), self.over


def may_befall(call: OpenCall, left: Troubles) -> Iterator[Fault]:
    """Yield what may befall the message that is on its way, as long as that much trouble is left."""
    if call.pending is Pending.REQUEST and left.late:
        yield Fault.KEPT
    if call.pending is Pending.REPLY and left.lost_answers and call.message is not None:
        yield Fault.ANSWER_LOST


def without(left: Troubles, fault: Fault) -> Troubles:
    """Return what trouble is left after one."""
    if fault is Fault.KEPT:
        return left._replace(late=left.late - 1)
    return left._replace(lost_answers=left.lost_answers - 1)


def arrivals(wire: Wire) -> Iterator[Move]:
    """Yield the arrival of each message of which the network has a copy."""
    for place, message in enumerate(wire.kept):
        yield Move(NETWORK, message.name + AGAIN, place)


def arrive_again(wire: Wire, place: int) -> tuple[Message, Operation[Reply]] | None:
    """Let a copy arrive; return it and the operation that it sets going, or None where it does nothing."""
    message = wire.kept.pop(place)
    try:
        arrived = wire.receive(message)
    except NotDone:
        return None
    return None if isinstance(arrived, Reply) else (message, arrived)


def key_of_the_wire(wire: Wire) -> tuple[object, ...]:
    """Return what makes the copies that the network has differ from others, as plain numbers and bytes."""
    return tuple([(each.key, each.epoch == wire.epoch) for each in copies(wire)])


def copies(wire: Wire) -> tuple[Copy, ...]:
    """Return what the network has as plain values."""
    return tuple([_copy(wire, message) for message in wire.kept if message.call is not None])


def _copy(wire: Wire, message: Message) -> Copy:
    ask, call = message.ask, message.call
    if call is None:
        raise AssertionError("a message of a peer without slots has no copy")
    return Copy(ask.name, ask.request, ask.incarnation, message.epoch, call, wire.is_over(message))


def put_back(wire: Wire, kept: tuple[Copy, ...]) -> None:
    """Let the network have these copies, and both fences stand as they did, in an epoch that has just begun.

    What has been answered is sent, received and answered once more by the real slots and fence, under new
    numbers; what belongs to an earlier epoch keeps its own.
    """
    wire.kept.clear()
    taken: list[Message] = []
    for copy in kept:
        ask = PeerCall(copy.name, copy.request, copy.incarnation)
        message = Message(0, ask, copy.epoch, copy.call)
        if copy.epoch == wire.epoch:
            message = _sent_again(wire, copy, ask)
            taken.append(message)
            if copy.over:
                message.give_slot_back(received=True)
                taken[-1] = _sent_again(wire, copy, ask)
        wire.acted.add(message.number)
        wire.kept.append(message)
    for message in reversed(taken):
        message.give_slot_back(received=True)


def _sent_again(wire: Wire, copy: Copy, ask: PeerCall) -> Message:
    message = wire.send(ask, copy.call.depth, epoch=copy.epoch)
    fence = wire.fences[message.to]
    verdict = fence.receive(Arrival(message.epoch, message.call, b"%d" % message.number))
    if not isinstance(verdict, Run):
        raise AssertionError(f"{message.call} is {verdict}")
    fence.answered(verdict, KeptReply(200, "", b""))
    return message
