"""What an observer of both sides sees of one VM: its states, the pools, the counters, and fresh events."""

import asyncio
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

import numpy as np

from pef_console.live.columns import NOTHING, Columns, Extent, Octets, extents_of
from pef_lab.endpoint import Endpoint, understood
from pef_lab.endpoints import Endpoints
from pef_lab.guest import World
from pef_lab.watch import Counters, read_counters
from pef_protocol.designs import DesignName
from pef_protocol.events import Side
from pef_protocol.http import OBSERVER_PATH, OCTETS
from pef_protocol.states import HvVmState, UvVmState

AT_ONCE: Final = 1 << 24
"""GFNs whose states one answer gives as octets."""
MOST_GFNS: Final = 1 << 26
"""GFNs of a VM that are looked at: 4 TiB."""
MOST_EVENTS: Final = 4096
"""Events that one answer gives."""
LONGEST_POLL: Final = 25
"""Seconds that a request waits for the next event."""
NO_VM: Final = "nothing"


@dataclass(frozen=True, slots=True)
class VmAtSide:
    """A VM as one side lists it. `slots`: first GFN and count. `pool`: pages in use, and pages there are."""

    state: str = NO_VM
    design: str = ""
    slots: tuple[tuple[int, int], ...] = ()
    pool: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen of a VM. `generation` is how many events each side had recorded before."""

    sides: dict[Side, VmAtSide]
    columns: Columns
    counters: Counters
    events: dict[Side, list[dict[str, Any]]]
    generation: str


@dataclass(slots=True)
class VmObserver:
    """Observes one VM at both sides, with the observer's token."""

    endpoints: Endpoints
    lpid: int = 0
    last: dict[Side, int] = field(default_factory=lambda: dict.fromkeys(Side, 0))
    """The number of the last event of each side that was read."""
    _at: dict[Side, Endpoint] = field(default_factory=dict)

    async def __aenter__(self) -> Self:
        urls = {
            Side.ULTRAVISOR: self.endpoints.ultravisor_url,
            Side.HYPERVISOR: self.endpoints.hypervisor_url,
        }
        token = self.endpoints.observer_token
        self._at = {side: Endpoint(side.capitalize(), url, token) for side, url in urls.items()}
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        for endpoint in self._at.values():
            await endpoint.close()

    async def observe(self, *, quiescent: bool, design: DesignName) -> Observation:
        """Return what both sides show now; raise Unanswered where one does not answer.

        `quiescent`: no call is open.
        """
        fresh = await self.fresh_events()
        generation = self.generation
        sides, counters = await self._sides(), await self.counters()
        columns = await self._columns(sides, quiescent=quiescent, design=design)
        return Observation(sides, columns, counters, fresh, generation)

    async def columns(self, *, quiescent: bool, design: DesignName) -> Columns:
        """Return the states of all GFNs; raise Unanswered."""
        return await self._columns(await self._sides(), quiescent=quiescent, design=design)

    @property
    def generation(self) -> str:
        """Return a name of what was read last."""
        return f"{self.last[Side.HYPERVISOR]}.{self.last[Side.ULTRAVISOR]}"

    async def fresh_events(self) -> dict[Side, list[dict[str, Any]]]:
        """Return the events of each side that were not read before, oldest first."""
        sides = [*Side]
        return dict(zip(sides, await asyncio.gather(*map(self._fresh, sides)), strict=True))

    async def wait(self, side: Side) -> None:
        """Return once a side has recorded another event, or after a while; raise Unanswered."""
        await self._trace(side, self.last[side], LONGEST_POLL)

    async def newest(self) -> str:
        """Return a name of what both sides have recorded up to now; `observe` reads those events, too."""
        sides = (Side.HYPERVISOR, Side.ULTRAVISOR)
        fresh = await asyncio.gather(*(self._trace(side, self.last[side]) for side in sides))
        numbers = [
            each[-1]["number"] if each else self.last[side] for side, each in zip(sides, fresh, strict=True)
        ]
        return ".".join(map(str, numbers))

    async def at_hypervisor(self) -> VmAtSide:
        """Return the VM as the Hypervisor lists it."""
        return await self._side(Side.HYPERVISOR)

    async def world(self) -> World:
        """Return which side serves the guest's loads and stores now."""
        state = (await self._side(Side.ULTRAVISOR)).state
        return World.SECURE if state == UvVmState.SECURE.name else World.NORMAL

    async def _trace(self, side: Side, after: int, wait: int = 0) -> list[dict[str, Any]]:
        shown = await self._at[side].view(OBSERVER_PATH + "trace", after=after, wait=wait)
        with understood(f"the trace that the {side.capitalize()} shows"):
            return [{**event, "number": int(event["number"])} for event in shown]

    async def _fresh(self, side: Side) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        while fresh := await self._trace(side, self.last[side]):
            self.last[side] = fresh[-1]["number"]
            events += fresh
            if len(fresh) < MOST_EVENTS:
                break
        return events

    async def _sides(self) -> dict[Side, VmAtSide]:
        sides = [*Side]
        return dict(zip(sides, await asyncio.gather(*map(self._side, sides)), strict=True))

    async def _side(self, side: Side) -> VmAtSide:
        shown = await self._at[side].view(OBSERVER_PATH + "vms")
        with understood(f"the VMs that the {side.capitalize()} shows"):
            pool = int(shown["pool"]["used"]), int(shown["pool"]["size"])
            for vm in shown["vms"]:
                if vm["lpid"] == self.lpid:
                    slots = tuple((int(slot["first"]), int(slot["count"])) for slot in vm["slots"])
                    state = str(vm["state"])
                    known = side is Side.HYPERVISOR or state in UvVmState.__members__
                    return VmAtSide(state if known else NO_VM, str(vm["design"] or ""), slots, pool)
        return VmAtSide(pool=pool)

    async def counters(self) -> Counters:
        """Return what both sides have counted since they started; raise Unanswered."""
        texts = await asyncio.gather(*(at.ask("GET", "/metrics") for at in self._at.values()))
        with understood("the metrics of both sides"):
            found = [read_counters(each.text) for each in texts]
        return Counters(
            sum(each.ultracalls for each in found),
            sum(each.hypercalls for each in found),
            sum(each.gfns_carried for each in found),
            sum(each.bytes_moved for each in found),
        )

    async def _columns(self, sides: dict[Side, VmAtSide], *, quiescent: bool, design: DesignName) -> Columns:
        extents = extents_of([*sides[Side.HYPERVISOR].slots, *sides[Side.ULTRAVISOR].slots])
        hypervisor, ultravisor = await asyncio.gather(
            *(
                self._column(side, extents, bool(sides[side].slots))
                for side in (Side.HYPERVISOR, Side.ULTRAVISOR)
            )
        )
        secure = sides[Side.HYPERVISOR].state == HvVmState.SECURE.name
        both = secure and sides[Side.ULTRAVISOR].state == UvVmState.SECURE.name
        none = sides[Side.ULTRAVISOR].state == NO_VM
        return Columns(extents, hypervisor, ultravisor, design, quiescent and (both or none))

    async def _column(self, side: Side, extents: tuple[Extent, ...], known: bool) -> Octets:
        total = sum(extent.count for extent in extents)
        with understood(f"the GFNs that the {side.capitalize()} shows"):
            if total > MOST_GFNS:
                raise ValueError(f"{total} GFNs, where at most {MOST_GFNS} are looked at")
        if not known:
            return np.full(total, NOTHING, np.uint8)
        parts = [
            await self._octets(side, first, min(AT_ONCE, extent.first + extent.count - first))
            for extent in extents
            for first in range(extent.first, extent.first + extent.count, AT_ONCE)
        ]
        return np.concatenate(parts) if parts else np.zeros(0, np.uint8)

    async def _octets(self, side: Side, first: int, count: int) -> Octets:
        asked = {"lpid": self.lpid, "first": first, "count": count}
        form: dict[str, Any] = {"params": asked, "headers": {"accept": OCTETS}}
        response = await self._at[side].ask("GET", OBSERVER_PATH + "gfns", **form)
        with understood(f"the GFNs that the {side.capitalize()} shows"):
            if len(response.content) != count:
                raise ValueError(f"{len(response.content)} octets for {count} GFNs")
            return np.frombuffer(response.content, np.uint8)
