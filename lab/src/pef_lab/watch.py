"""The observer: what each side shows of its own state, read from outside, never asked for a verdict."""

import re
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from pef_lab.endpoint import Endpoint, understood
from pef_lab.endpoints import Endpoints
from pef_protocol.calls import HYPERCALLS, ULTRACALLS
from pef_protocol.events import EventKind, EventPhase, Side
from pef_protocol.http import OBSERVER_PATH

SAMPLE: Final = re.compile(r"^(pef_[a-z_]+)\{([^}]*)\} (\S+)$", re.MULTILINE)
KEY_SIZE: Final = 32
"""Bytes of an X25519 public key."""
LABEL: Final = re.compile(r'(\w+)="([^"]*)"')

_ULTRACALL_NAMES: Final = frozenset(call.name for call in ULTRACALLS)
_HYPERCALL_NAMES: Final = frozenset(call.name for call in HYPERCALLS)


@dataclass(frozen=True, slots=True)
class VmRecord:
    """A VM as one side lists it. `column_bytes` is what that side keeps for its GFNs."""

    lpid: int
    state: str
    gfns: int
    column_bytes: int


@dataclass(frozen=True, slots=True)
class Pool:
    """A side's pool: secure memory, or the device pages that stand for it; in pages."""

    size: int
    used: int


@dataclass(frozen=True, slots=True)
class SlotStates:
    """The states of one slot's GFNs as runs of (first GFN, count, state), in ascending order."""

    slotid: int
    first: int
    count: int
    states: tuple[tuple[int, int, str], ...]
    moving: int


@dataclass(frozen=True, slots=True)
class Counters:
    """What both sides have counted since they started."""

    ultracalls: int = 0
    hypercalls: int = 0
    gfns_carried: int = 0
    bytes_moved: int = 0

    def since(self, earlier: "Counters") -> "Counters":
        """Return what was counted after `earlier`."""
        return Counters(
            self.ultracalls - earlier.ultracalls,
            self.hypercalls - earlier.hypercalls,
            self.gfns_carried - earlier.gfns_carried,
            self.bytes_moved - earlier.bytes_moved,
        )


@dataclass(slots=True)
class _Cursor:
    """How far a side's trace has been read: the number of its last event."""

    last: dict[Side, int] = field(default_factory=lambda: dict.fromkeys(Side, 0))


async def machine_key_of(ultravisor: Endpoint) -> bytes:
    """Return the public key that an ESM blob for an Ultravisor's machine is sealed to: 32 bytes."""
    shown = await ultravisor.view(path := "/v1/machine-key")
    with understood(f"GET {path} at the {ultravisor.name}"):
        key = bytes.fromhex(shown["public_key"])
        if len(key) != KEY_SIZE:
            raise ValueError(f"a public key of {len(key)} bytes")
        return key


class Watch:
    """An observer of both sides."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = {
            Side.ULTRAVISOR: Endpoint("Ultravisor", endpoints.ultravisor_url, endpoints.observer_token),
            Side.HYPERVISOR: Endpoint("Hypervisor", endpoints.hypervisor_url, endpoints.observer_token),
        }
        self._cursor = _Cursor()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        for endpoint in self._endpoints.values():
            await endpoint.close()

    async def vms(self, side: Side) -> tuple[dict[int, VmRecord], Pool]:
        """Return the VMs that a side lists, by lpid, and its pool."""
        shown = await self._endpoints[side].view(OBSERVER_PATH + "vms")
        with understood(f"the VMs that the {side.capitalize()} shows"):
            records = {
                vm["lpid"]: VmRecord(vm["lpid"], str(vm["state"]), int(vm["gfns"]), int(vm["column_bytes"]))
                for vm in shown["vms"]
            }
            return records, Pool(int(shown["pool"]["size"]), int(shown["pool"]["used"]))

    async def pools(self) -> dict[Side, int]:
        """Return how many pages of each side's pool are in use."""
        return {side: (await self.vms(side))[1].used for side in Side}

    async def slots(self, side: Side, lpid: int) -> tuple[SlotStates, ...]:
        """Return the states of a VM's GFNs as a side shows them; no slots where it knows none of that VM."""
        if lpid not in (await self.vms(side))[0]:
            return ()
        shown = await self._endpoints[side].view(OBSERVER_PATH + "gfns", lpid=lpid)
        with understood(f"the GFNs that the {side.capitalize()} shows"):
            return tuple(_slot_states(slot) for slot in shown["slots"])

    async def counters(self) -> Counters:
        """Return what both sides have counted: messages answered, GFNs they carried, bytes over the bus."""
        total = Counters()
        for endpoint in self._endpoints.values():
            response = await endpoint.ask("GET", "/metrics")
            with understood(f"GET /metrics at the {endpoint.name}"):
                total = _add(total, read_counters(response.text))
        return total

    async def machine_public_key(self) -> bytes:
        """Return the public key that an ESM blob for this machine is sealed to."""
        return await machine_key_of(self._endpoints[Side.ULTRAVISOR])

    async def fresh_events(self) -> list[dict[str, Any]]:
        """Return the events of either side since the last time this was asked."""
        events: list[dict[str, Any]] = []
        for side, endpoint in self._endpoints.items():
            while fresh := await endpoint.view(OBSERVER_PATH + "trace", after=self._cursor.last[side]):
                with understood(f"the trace that the {side.capitalize()} shows"):
                    self._cursor.last[side] = fresh[-1]["number"]
                    events += fresh
        return events

    async def answered_calls(self) -> list[dict[str, Any]]:
        """Return the ends of calls among the events since the last time this was asked."""
        wanted = EventKind.CALL, EventPhase.END
        return [event for event in await self.fresh_events() if (event["kind"], event["phase"]) == wanted]


def _slot_states(slot: dict[str, Any]) -> SlotStates:
    states = tuple((int(gfn), int(count), str(state)) for gfn, count, state in slot["states"])
    return SlotStates(slot["slotid"], slot["first"], slot["count"], states, int(slot.get("moving", 0)))


def _add(one: Counters, other: Counters) -> Counters:
    return Counters(
        one.ultracalls + other.ultracalls,
        one.hypercalls + other.hypercalls,
        one.gfns_carried + other.gfns_carried,
        one.bytes_moved + other.bytes_moved,
    )


def read_counters(exposition: str) -> Counters:
    """Return the counters in a side's metrics (Prometheus' text format)."""
    ultracalls = hypercalls = gfns_carried = bytes_moved = 0
    for name, labels, number in SAMPLE.findall(exposition):
        call = dict(LABEL.findall(labels)).get("call", "")
        counted = int(float(number))
        if name == "pef_calls_total":
            ultracalls += counted if call in _ULTRACALL_NAMES else 0
            hypercalls += counted if call in _HYPERCALL_NAMES else 0
        elif name == "pef_pages_total":
            gfns_carried += counted
        elif name == "pef_bytes_moved_total":
            bytes_moved += counted
    return Counters(ultracalls, hypercalls, gfns_carried, bytes_moved)
