"""Rules against what the wire does and against sides that die, each as it is broken for a test."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import pytest

from pef_explorer.machines import pair
from pef_explorer.machines.pair import Pair
from pef_explorer.machines.small_memory import HeapMemory
from pef_explorer.machines.system import System
from pef_explorer.simulation.machines import Machines
from pef_hypervisor.dispatch import Hypervisor
from pef_hypervisor.state import Gate
from pef_kit.core.effects import Operation, PeerCall
from pef_kit.core.fence import Answer, Fence, Join, Kept, Message, Refuse, Run
from pef_protocol.calls import Reply
from pef_protocol.problems import ProblemType

RECEIVE: Final = Fence.receive
HANDLER: Final = Pair.handler
Verdict = Run | Join | Answer | Refuse


def _run(fence: Fence) -> Run:
    return Run(Kept(0, b"", 0), fence.life)


def _done_again(fence: Fence, message: Message) -> Verdict:
    verdict = RECEIVE(fence, message)
    return _run(fence) if isinstance(verdict, Answer) else verdict


def _done_late(fence: Fence, message: Message) -> Verdict:
    verdict = RECEIVE(fence, message)
    late = isinstance(verdict, Refuse) and verdict.kind is ProblemType.LATE
    return _run(fence) if late else verdict


def _of_any_epoch(fence: Fence, message: Message) -> Verdict:
    return RECEIVE(fence, replace(message, epoch=fence.epoch))


def _anybodys(machines: Pair[Any], ask: PeerCall) -> Operation[Reply]:
    return HANDLER(machines, replace(ask, incarnation=None))


def _nothing(*_: object) -> Operation[None]:
    yield from ()


def _one_memory(new_memory: Callable[[Any], HeapMemory]) -> Callable[[Any], HeapMemory]:
    """Empty the memory that the Hypervisor before had, and use that."""

    def emptied(machines: Pair[HeapMemory]) -> HeapMemory:
        memory = getattr(machines, "memory", None) or new_memory(machines)
        memory.known[:] = 0
        return memory

    return emptied


BROKEN: Final[dict[str, tuple[tuple[Any, str, Callable[..., object]], ...]]] = {
    "the same number is done again": ((Fence, "receive", _done_again),),
    "a lower number is done": ((Fence, "receive", _done_late),),
    "the epoch is not compared": ((Fence, "receive", _of_any_epoch),),
    "the incarnation is not compared": ((Pair, "handler", _anybodys),),
    "hello leaves the SVMs": ((pair, "end_epoch", _nothing),),
    "one memory for all": tuple(
        (machines, "new_memory", _one_memory(machines.new_memory)) for machines in (System, Machines)
    ),
    "VMs stay what they are": ((Hypervisor, "fit_new_ultravisor", _nothing),),
    "nobody ends operations": ((Hypervisor, "end_operations", _nothing),),
    "weak gate for destroy": ((Gate, "ending", Gate.held),),
}
"""Where each rule is kept, and what stands there once it is broken."""


def break_rule(rule: str, patch: pytest.MonkeyPatch) -> None:
    """Break a rule for as long as `patch` is in force."""
    for where, name, instead in BROKEN[rule]:
        patch.setattr(where, name, instead)
