"""The messages that one move lets arrive, as arrows: nested as the calls are, each code with its reason.

An arrow stands where a message arrives, not where it is sent. So one that others overtook stands where it
comes, and a message that is held, refused or lost on its way is seen as that.
"""

from dataclasses import dataclass
from typing import Any, Final

from pef_explorer.actions.move import GO_ON, Move
from pef_explorer.actions.outcome import succeeded
from pef_explorer.machines.faults import Fault
from pef_explorer.machines.open_call import OpenCall, Pending
from pef_explorer.machines.wire import SENDERS
from pef_explorer.session.choices import next_phase
from pef_explorer.session.frame import Arrow, StackEntry, Why
from pef_explorer.session.node import Begun, Cost
from pef_explorer.session.why import why
from pef_explorer.world.records import Ending, Open
from pef_explorer.world.world import World
from pef_kit.core.effects import Transfer
from pef_protocol.calls import CALLS, Reply
from pef_protocol.events import Side
from pef_protocol.runs import Runs

ULTRACALLS: Final = {
    "share": "UV_SHARE_PAGE",
    "unshare": "UV_UNSHARE_PAGE",
    "share two": "UV_SHARE_PAGE",
    "unshare two": "UV_UNSHARE_PAGE",
    "unshare all": "UV_UNSHARE_ALL_PAGES",
    "UV_ESM": "UV_ESM",
    "UV_ESM with a bad image": "UV_ESM",
}
"""The ultracall that an action of the guest makes."""
MADE_UP: Final = Why(check="", sentence="Made up on the wire: the request never arrived.", source="")
NOT_DELIVERED: Final = frozenset({Fault.REFUSED, Fault.BUSY, Fault.LOST})


def stack_of(each: Open) -> tuple[StackEntry, ...]:
    """Return the calls of an open action that have begun, the outermost first, each with its side."""
    call = each.call
    outermost = StackEntry(side=call.side.value, call=ULTRACALLS.get(each.move.action, each.move.action))
    nested = call.outstanding[: call.depth - 1]
    return (outermost, *[StackEntry(side=one.to.value, call=one.name) for one in nested])


@dataclass(slots=True)
class Before:
    """What the call of an actor stopped at before a move, and what that move may let arrive."""

    call: OpenCall | None
    stack: tuple[StackEntry, ...]
    pending: Pending | None
    effect: Any

    @classmethod
    def of(cls, world: World, actor: str) -> "Before":
        """Note it."""
        each = world.open.get(actor)
        if each is None:
            return cls(None, (), None, None)
        return cls(each.call, stack_of(each), each.call.pending, each.call.effect)


class Drawing:
    """The arrows of one move, and what it cost."""

    def __init__(self, node: int, begun: Begun, cost: Cost) -> None:
        self.node, self.begun, self.cost = node, begun, cost
        self.arrows: list[Arrow] = []

    def before(self, world: World, move: Move, before: Before) -> None:
        """Draw what the move does to what was pending."""
        if before.call is None:
            self._starts(world, move)
            return
        here, depth = before.stack[-1].side, len(before.stack)
        effect, fault = before.effect, move.fault
        if before.pending is Pending.REQUEST:
            self._ask(here, effect.name, effect.request, depth, fault)
        elif before.pending is Pending.REPLY and depth:
            self._answer(before, fault)
        elif isinstance(effect, Transfer):
            moved = sum(length for _, length in effect.pieces)
            self.cost = self.cost.plus(moved=moved)
            words = f"{'writes' if effect.writes else 'reads'} {moved:,} bytes of normal memory"
            self._note(here, words, depth, "access")

    def _starts(self, world: World, move: Move) -> None:
        """Draw the beginning of an action, or of a phase that follows another."""
        if move.action == GO_ON:
            self._note(Side.ULTRAVISOR.value, f"UV_ESM goes on: {next_phase(world)}", 1, "note")
            return
        name = ULTRACALLS.get(move.action, "")
        if name:
            self.cost = self.cost.plus(ultracalls=1)
        side = world.side_of(move).value
        where = "" if move.gfn < 0 else f" {move.gfn}"
        self._add(0, move.actor, side, f"{name or move.action}{where}", "ask")

    def _ask(self, here: str, name: str, request: object, depth: int, fault: Fault | None) -> None:
        there = SENDERS[Side(here)].value
        if fault not in NOT_DELIVERED:
            times = 2 if fault is Fault.DOUBLED else 1
            runs = getattr(request, "runs", None)
            gfns = runs.pages if isinstance(runs, Runs) else 0
            own = {"ultracalls": times} if CALLS[name].is_ultracall else {"hypercalls": times}
            self.cost = self.cost.plus(gfns=gfns * times, **own)
        self._add(depth, here, there, name, "ask", fault=fault)

    def _answer(self, before: Before, fault: Fault | None) -> None:
        """Draw an answer that reaches who asked for it."""
        here, depth, call = before.stack[-1].side, len(before.stack), before.call
        asked = call.message.name if call is not None and call.message is not None else ""
        self._reply(depth, SENDERS[Side(here)].value, here, asked, before.effect, fault)

    def after(self, world: World, move: Move, before: Before, ended: Ending | None) -> None:
        """Draw the end of the action, if it has ended."""
        if ended is None:
            return
        side = (before.call.side if before.call is not None else world.side_of(ended.move)).value
        name, word = ULTRACALLS.get(ended.move.action, ""), ended.word
        reason = why(name, succeeded=succeeded(word), check=ended.check, detail=ended.detail)
        self._add(0, side, move.actor, word, "answer", code=word, reason=reason)

    def _reply(
        self, depth: int, start: str, end: str, asked: str, effect: object, fault: Fault | None
    ) -> None:
        if not isinstance(effect, Reply):
            self._add(depth, start, end, "no answer", "answer", fault=fault)
            return
        code = effect.code.name
        reason = why(asked, succeeded=effect.code.succeeded, check=effect.check, detail=effect.detail)
        if not asked:
            reason = MADE_UP
        self._add(depth, start, end, code, "answer", code=code, reason=reason, fault=fault)

    def _note(self, side: str, words: str, depth: int, kind: str) -> None:
        self._add(depth, side, side, words, kind)

    def _add(
        self,
        depth: int,
        start: str,
        end: str,
        text: str,
        kind: Any,
        code: str | None = None,
        reason: Why | None = None,
        fault: Fault | None = None,
    ) -> None:
        word = fault.value if fault else None
        arrow = Arrow(
            node=self.node,
            call=self.begun.number,
            depth=depth,
            start=start,
            end=end,
            text=text,
            kind=kind,
            code=code,
            why=reason,
            fault=word,
        )
        self.arrows.append(arrow)
