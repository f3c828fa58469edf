"""The live stage: moves on a real VM, whose messages are held, and what both sides show of it.

A VM can't go back. So a cursor that goes back ends the VM, creates another one, and makes the moves of the
path again.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from typing import Any, Final

from pef_console.live.choices import label_of, require_possible
from pef_console.live.exporting import exported
from pef_console.live.following import Following
from pef_console.live.pairs import SessionPair
from pef_console.live.picture import Picture
from pef_console.live.tree import MoveNode, MoveTree
from pef_console.live.viewing import Viewer
from pef_console.live.vm import LiveVm, created, design_named
from pef_console.live.wire import FAULT_OF, HeldMessage
from pef_console.stage import (
    Exported,
    ExportKind,
    Frame,
    HeldAction,
    MapOctets,
    Move,
    NotPossible,
    Publish,
    Stage,
    StageKind,
    Until,
)
from pef_lab.failures import OperatorFault, Unanswered
from pef_lab.replay.counterexample import GO_ON, WAITS
from pef_protocol.designs import DesignName

MOST_AT_ONCE: Final = 200
"""Moves that one command to go forward makes."""
CLOSING: Final = 20.0
"""Seconds that the end of a VM may take."""


class LiveStage:
    """A session on a pair: with a VM of its own, or one that it only watches."""

    kind = StageKind.LIVE
    observing_changes = True
    """The host really reads a page that is looked at."""

    def __init__(
        self, pair: SessionPair, design: DesignName, publish: Publish, *, memory: int, lpid: int | None
    ) -> None:
        self._pair = pair
        self._design = design
        self._publish = publish
        self._memory = memory
        self._watched = lpid
        self._tree = MoveTree()
        self._vm: LiveVm | None = None
        self._of_vm = AsyncExitStack()
        self._stack = AsyncExitStack()
        self._picture = Picture(pair, design, memory)
        self._viewer = Viewer(pair, self._picture)
        self._replayed: dict[str, Any] | None = None
        self._commands = asyncio.Lock()
        self._following: Following | None = None

    @property
    def title(self) -> str:
        """Return what it shows, in a few words."""
        return f"{f'VM {self._watched}' if self._watched else self._design} on {self._pair.name}"

    # Begin and end

    async def begin(self) -> None:
        """Create the VM, or find the one to watch; raise OperatorFault where a service does not answer."""
        await self._stack.enter_async_context(self._picture.observer)
        if self._watched is None:
            await self._create()
        else:
            await self._picture.begin(self._watched, self._tree, None)
        self._following = Following(self._picture, self._show_change)
        self._pair.traffic.on_change = self._following.change

    async def close(self) -> None:
        """Fail what is held, destroy the VM that it created, and stop the pair that was started for it."""
        if self._following is not None:
            await self._following.end()
        self._pair.traffic.end_all()
        if self._vm is not None and self._picture.ended:
            self._vm.ending = 0
        with suppress(OperatorFault, TimeoutError):
            async with asyncio.timeout(CLOSING):
                await self._of_vm.aclose()
        await self._stack.aclose()
        await self._pair.close()

    async def _create(self) -> None:
        """Create a VM in the place of the one that is there."""
        await self._of_vm.aclose()
        self._of_vm, self._vm = AsyncExitStack(), None
        context = created(self._design, self._pair.endpoints, self._pair.traffic, self._memory)
        self._vm = await self._of_vm.enter_async_context(context)
        self._tree.start()
        await self._picture.begin(self._vm.small.lpid, self._tree, self._vm)

    def frame(self) -> Frame:
        """Return the frame of the last observation."""
        return self._picture.frame

    async def _refresh(self) -> None:
        await self._picture.refresh(self._tree, self._vm, self._replayed)

    async def _show_change(self) -> None:
        """Publish a frame of what has changed, if anything that it shows has."""
        async with self._commands:
            if await self._picture.refresh(self._tree, self._vm, self._replayed):
                self._publish("frame", None)

    async def observe(self, gfn: int) -> Mapping[str, Any]:
        """Return how the guest and the host find a page; the host's read may change the VM."""
        async with self._commands:
            self._require_answers()
            view = await self._view(gfn)
            await self._refresh()
            self._picture.words[gfn] = view["guest"]["words"], view["host"]["words"]
            await self._refresh()
            return view

    async def _view(self, gfn: int) -> dict[str, Any]:
        view = await self._viewer.view(gfn, self._vm)
        self._tree.viewed.append(gfn)
        return view

    async def map(self, cells: int) -> MapOctets:
        """Return the map of the whole VM in so many cells."""
        return await self._picture.map(cells, self._vm)

    async def export(self, kind: ExportKind) -> Exported:
        """Return the path to the cursor as a file."""
        shown = self._picture
        return exported(kind, self._tree.path(), self._design, self._vm, shown.verdicts, shown.frame)

    # Moves

    def _require_answers(self) -> None:
        if self._picture.ended:
            raise NotPossible(f"nothing can be done any more: {self._picture.ended}")

    def own_vm(self) -> LiveVm:
        """Return the VM; raise NotPossible where it is another's, or a service does not answer any more."""
        self._require_answers()
        if self._vm is None:
            raise NotPossible(
                f"this session only watches VM {self._picture.observer.lpid}: it did not create it"
            )
        return self._vm

    async def move(self, move: Move) -> None:
        """Make a move at the cursor."""
        async with self._commands:
            await self._move(move)
            await self._refresh()

    async def held(self, held: str, action: HeldAction) -> None:
        """Do something with a held message."""
        async with self._commands:
            self.own_vm()
            message = self._pair.traffic.find(held)
            if message is None:
                raise NotPossible(f"no message {held} is held")
            await self._move(Move(actor=message.actor.name, action=GO_ON, fault=FAULT_OF[action]), message)
            await self._refresh()

    async def _move(self, move: Move, chosen: HeldMessage | None = None) -> None:
        vm = self.own_vm()
        self._tree.require_room()
        message = require_possible(vm, self._pair.keyring, move) if chosen is None else chosen
        label = label_of(move, message)
        try:
            if message is None:
                outcome = await vm.start(move.actor, move.action, move.gfn)
            else:
                outcome = await vm.go_on(message, move.fault)
        except Unanswered as failure:
            outcome = f"ends without an answer: {failure}"
        self._tree.take(move, outcome, label)
        if message is not None and move.fault is not None:
            self._picture.arrows.befell(self._tree.at, message, move.fault)

    async def goto(self, node: int) -> None:
        """Set the cursor on a node: go forward, or create another VM and make the moves again."""
        async with self._commands:
            self.own_vm()
            path = self._tree.path(node)
            numbers = [each.n for each in path]
            if self._tree.at in numbers:
                await self._replay(path[numbers.index(self._tree.at) + 1 :])
            else:
                await self._start_again(path)

    async def back(self) -> None:
        """Set the cursor on the parent: create another VM and make the moves of its path again."""
        async with self._commands:
            self.own_vm()
            if not self._tree.at:
                raise NotPossible("this is the start")
            await self._start_again(self._tree.path()[:-1])

    async def forward(self) -> None:
        """Make the move again that was made here last; where none was, deliver what was held first."""
        async with self._commands:
            await self._deliver(1) if self._at_tip() else await self._replay([self._tree.next_child()])

    async def run(self, until: Until) -> None:
        """Make the moves again that were made from here; where none was, deliver until nothing is held."""
        async with self._commands:
            if until == "quiescent" or self._at_tip():
                await self._deliver(MOST_AT_ONCE)
            else:
                await self._replay(self._tree.forward_path()[:MOST_AT_ONCE], stops=until == "violation")

    def _at_tip(self) -> bool:
        return not self._tree.node.children and bool(self.own_vm().traffic.held_messages)

    async def _deliver(self, most: int) -> None:
        traffic = self.own_vm().traffic
        while traffic.held_messages and (most := most - 1) >= 0:
            held = traffic.held_messages[0]
            await self._move(Move(actor=held.actor.name, action=GO_ON), held)
        await self._refresh()

    async def _start_again(self, path: Sequence[MoveNode]) -> None:
        begun = time.perf_counter()
        try:
            await self._create()
            await self._replay(path[1:])
        except OperatorFault as fault:
            raise NotPossible(f"no other VM could be made: {fault}") from None
        finally:
            self._took(begun)
            await self._refresh()
            self._publish("frame", None)

    def _took(self, begun: float) -> None:
        seconds = round(time.perf_counter() - begun, 2)
        self._replayed = {"moves": len(self._tree.path()) - 1, "seconds": seconds}

    async def _replay(self, path: Sequence[MoveNode], *, stops: bool = False) -> None:
        """Make known moves again; raise NotPossible at the first that leads elsewhere."""
        try:
            for node in path:
                assert node.move is not None  # noqa: S101 - only the start has none
                for gfn in node.viewed:
                    await self._view(gfn)
                await self._move(node.move)
                outcome = self._tree.node.outcome
                if self._tree.at != node.n and WAITS not in {outcome, node.outcome}:
                    known = f"it led to {node.outcome!r} before, and to {outcome!r} now"
                    raise NotPossible(f"{node.label}: {known}; the session goes on from here")
                if stops:
                    await self._refresh()
                    if self._picture.verdicts.broken:
                        break
        finally:
            await self._refresh()
            self._publish("frame", None)

    async def copied(self, at: int | None, design: str | None, publish: Publish) -> Stage:
        """Return a stage with a VM of its own on which the path to `at` was made again, as far as it goes."""
        self.own_vm()
        path = self._tree.path(at)
        chosen = design_named(design or self._design)
        try:
            pair = await self._pair.another()
        except OperatorFault as fault:
            raise NotPossible(str(fault)) from None
        copy = LiveStage(pair, chosen, publish, memory=self._memory, lpid=None)
        try:
            await copy.begin()
            await copy.make_again(path)
        except BaseException as fault:
            await copy.close()
            if isinstance(fault, OperatorFault):
                raise NotPossible(str(fault)) from None
            raise
        return copy

    async def make_again(self, path: Sequence[MoveNode]) -> None:
        """Make the moves of another session's path; end at the first that leads elsewhere."""
        async with self._commands:
            begun = time.perf_counter()
            with suppress(NotPossible):
                for node in path[1:]:
                    await self._replay([replace(node, n=len(self._tree.nodes))])
            self._took(begun)
            await self._refresh()
