"""What a live session shows: it observes both sides, judges what is at rest, and makes a frame of it."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from pef_console.live.arrows import Arrows
from pef_console.live.choices import choices
from pef_console.live.columns import Columns
from pef_console.live.framing import Shown, framed
from pef_console.live.observing import Observation, VmObserver
from pef_console.live.pairs import SessionPair
from pef_console.live.tree import MoveTree
from pef_console.live.verdicts import Verdicts
from pef_console.live.vm import LiveVm
from pef_console.stage import Frame, MapOctets, NotPossible
from pef_lab.failures import Unanswered
from pef_lab.watch import Counters
from pef_protocol.designs import DesignName
from pef_protocol.events import Side

OFFERED: Final = 2
"""GFNs whose moves a frame lists; a move may name any other."""


class Picture:
    """What was observed of one VM of a session. `ended`: why nothing can be done any more, or empty."""

    def __init__(self, pair: SessionPair, design: DesignName, memory: int) -> None:
        self._pair = pair
        self._design = design
        self._memory = memory
        self.observer = VmObserver(pair.endpoints)
        self.arrows = Arrows(0)
        self.verdicts = Verdicts()
        self.words: dict[int, tuple[str | None, str | None]] = {}
        self.frame: Frame = {}
        self.ended = ""
        self._seen: Observation | None = None
        self._started = Counters()
        self._maps = 0

    async def begin(self, lpid: int, tree: MoveTree, vm: LiveVm | None) -> None:
        """Observe another VM from now on; raise Unanswered."""
        self.observer.lpid = lpid
        await self.observer.fresh_events()
        self.arrows, self.verdicts = Arrows(lpid), Verdicts()
        self.words.clear()
        self._started = await self.observer.counters()
        await self.refresh(tree, vm)

    def quiescent(self, vm: LiveVm | None) -> bool:
        """Tell whether nothing is open, as far as this session knows."""
        return vm.quiescent if vm else not self.arrows.any_open

    async def refresh(
        self, tree: MoveTree, vm: LiveVm | None, replayed: Mapping[str, Any] | None = None
    ) -> bool:
        """Observe both sides and make a frame; where a service does not answer, the frame says so.

        Return whether it shows anything else than before.
        """
        before, quiescent = self.frame, self.quiescent(vm)
        try:
            seen = await self.observer.observe(quiescent=quiescent, design=self._design)
            self.arrows.take(tree.at, seen.events)
            if self._seen is not None and self._seen.generation != seen.generation:
                self.words.clear()
            self._seen = seen
            await self._judge(seen, tree.at, vm)
        except Unanswered as failure:
            self.ended = self.ended or self._pair.ended() or str(failure)
        if self._seen is not None:
            self.frame = framed(self._shown(self._seen, tree, vm, replayed, quiescent=quiescent))
        return self.frame != before

    async def _judge(self, seen: Observation, node: int, vm: LiveVm | None) -> None:
        if vm is not None:
            sides = seen.sides
            await vm.rest(node, sides[Side.HYPERVISOR].state, sides[Side.ULTRAVISOR].state)
            self.verdicts.take(vm.judge.breaches.values())
        if vm is None or not vm.judge.faulty:
            self.verdicts.compare(node, seen.columns)

    def _shown(
        self,
        seen: Observation,
        tree: MoveTree,
        vm: LiveVm | None,
        replayed: Mapping[str, Any] | None,
        *,
        quiescent: bool,
    ) -> Shown:
        keyring = self._pair.keyring
        return Shown(
            design=self._design,
            pair=self._pair.name,
            holds=self._pair.holds,
            lpid=self.observer.lpid,
            memory=self._memory,
            tree=tree,
            keyring=keyring,
            seen=seen,
            arrows=self.arrows,
            verdicts=self.verdicts,
            vm=vm,
            choices=choices(vm, keyring, vm.shown_gfns()[:OFFERED], self.ended) if vm else [],
            words=self.words,
            started=self._started,
            quiescent=quiescent,
            ended=self.ended,
            replayed=replayed,
            held=self._pair.traffic.held_messages,
        )

    async def columns(self, vm: LiveVm | None) -> Columns:
        """Return the states of all GFNs now; raise Unanswered."""
        return await self.observer.columns(quiescent=self.quiescent(vm), design=self._design)

    async def map(self, cells: int, vm: LiveVm | None) -> MapOctets:
        """Return the map in so many cells, named by what both sides had recorded; raise NotPossible."""
        try:
            generation = await self.observer.newest()
            columns = await self.columns(vm)
        except Unanswered as failure:
            raise NotPossible(str(failure)) from None
        self._maps += 1
        moment = "" if columns.settled else f".{self._maps}"  # what is in flight may change without an event
        octets = await asyncio.to_thread(columns.cells, cells)
        return MapOctets(octets, f"{self.observer.lpid}.{generation}.{cells}{moment}")
