"""What every service shows: health, counters, its trace, and views for the observer; outcomes for clients.

Trust: states, names and counts. No view holds the contents of a page.
"""

import asyncio
import json
from collections.abc import Callable, Iterable
from html import escape
from typing import Annotated, Any, Final, TypeVar

import numpy as np
from fastapi import Header, Path, Query, Response
from pydantic import BaseModel

from pef_kit.core.columns import Slot, SlotT
from pef_kit.core.effects import Offload, Operation
from pef_kit.runtime import openapi
from pef_kit.runtime.app import Service, json_response
from pef_kit.runtime.auth import Problem, TheCaller
from pef_kit.runtime.messages import Number
from pef_kit.runtime.runner import drive
from pef_protocol.events import Event
from pef_protocol.http import (
    GUESTS_PATH,
    JSON,
    OBSERVER_PATH,
    OCTETS,
    OPERATIONS_PATH,
    VERSION_PATH,
    Role,
)
from pef_protocol.problems import ProblemType
from pef_protocol.quantities import U64_MAX, Lpid
from pef_protocol.version import VERSION

T = TypeVar("T")
VIEW_ATTEMPTS: Final = 8
"""How often a view that is to be of one moment is tried."""
LONGEST_POLL: Final = 30
"""Seconds that a request for the trace may wait."""
MOST_OCTETS: Final = 1 << 24
"""GFNs whose states one answer gives as octets."""
NO_SLOT: Final = 0xFF
"""The octet of a GFN that lies in no slot."""
TEXT: Final = "text/plain; version=0.0.4"
LINKS: Final = (
    ("/docs", "all routes, to read and to try: Authorize takes a bearer token for each role"),
    ("/openapi.json", "the same for programs"),
    ("/livez", "whether the process answers"),
    ("/readyz", "whether there is an epoch with the peer"),
    (VERSION_PATH, "which version of which side this is"),
    ("/metrics", "counters and gauges, for the observer"),
)


class Live(BaseModel):
    """The process answers."""

    live: bool


class Ready(BaseModel):
    """There is an epoch with the peer."""

    ready: bool


class Version(BaseModel):
    """Which side answers, and the version of its code."""

    side: str
    version: str


class GuestIncarnation(BaseModel):
    """Which life of a VM an lpid means now, at this service."""

    lpid: int
    incarnation: str


class Digest(BaseModel):
    """A keyed hash of all that a side must not forget."""

    digest: str


class Invariants(BaseModel):
    """A sentence for each invariant that is broken."""

    broken: list[str]


def add_common_routes(service: Service) -> None:
    """Add what every service has beside its calls."""

    async def index() -> Response:
        """List where to go on."""
        title = f"PEF {service.side}"
        items = "".join(f'<li><a href="{path}">{path}</a>: {escape(what)}</li>' for path, what in LINKS)
        page = f'<!doctype html><html lang="en"><title>{title}</title><h1>{title}</h1><ul>{items}</ul></html>'
        return Response(page, media_type="text/html")

    async def live() -> Response:
        """Tell that the process answers."""
        return json_response({"live": True})

    async def ready() -> Response:
        """Tell whether there is an epoch with the peer."""
        service.require_epoch()
        return json_response({"ready": True})

    async def version() -> Response:
        """Tell which side this is, and the version of its code."""
        return json_response({"side": service.side, "version": VERSION})

    async def metrics() -> Response:
        """Return counters and gauges in Prometheus' text format."""
        return Response(service.observer.exposition(), media_type=TEXT)

    async def trace(after: Number, wait: Annotated[Number, Query(le=LONGEST_POLL)] = 0) -> Response:
        """Return the events with a number above `after`, oldest first, at most 4,096 of them.

        An event is the begin or the end of a call, of a guest's access or of a VMM's operation.
        Where there is none, `wait` so many seconds for one.
        """
        await service.observer.wait(after, wait)
        return json_response(service.observer.since(after))

    async def incarnation(lpid: Number) -> Response:
        """Tell which life of a VM `lpid` means now: what a token for a guest has to name."""
        found = service.authenticator.incarnation_of(Lpid(lpid))
        if found is None:
            raise Problem(404, f"no VM has lpid {lpid} at the {service.side}")
        return json_response({"lpid": lpid, "incarnation": str(found)})

    async def operation(caller: TheCaller, operation: Annotated[str, Path(max_length=64)]) -> Response:
        """Return the outcome of an operation of the caller's own that a request was told is still open."""
        return await service.clients.read(caller, operation)

    add = service.add
    text = {200: {"content": {TEXT: {"schema": {"type": "string"}}}, "description": "Counters and gauges"}}
    for method in ("GET", "HEAD"):
        add(method, "/", index, tag=openapi.HEALTH, include_in_schema=False)
        add(method, "/livez", live, tag=openapi.HEALTH, answer=Live)
        add(method, "/readyz", ready, tag=openapi.HEALTH, answer=Ready, problems=(503,))
        add(method, VERSION_PATH, version, tag=openapi.HEALTH, answer=Version)
    add("GET", "/metrics", metrics, Role.OBSERVER, tag=openapi.OBSERVER, responses=text)
    add("GET", OBSERVER_PATH + "trace", trace, Role.OBSERVER, tag=openapi.OBSERVER, answer=list[Event])
    add(
        "GET",
        GUESTS_PATH + "{lpid}/incarnation",
        incarnation,
        Role.OBSERVER,
        Role.VMM,
        Role.HYPERVISOR,
        tag=openapi.VMM,
        answer=GuestIncarnation,
        problems=(404,),
    )
    add(
        "GET",
        OPERATIONS_PATH + "{operation}",
        operation,
        Role.GUEST,
        Role.VMM,
        tag=openapi.VMM,
        responses=openapi.ANY_ANSWER,
        problems=(404, 409, 410, 412, 422, 503),
    )


def add_view(service: Service, path: str, view: Callable[..., Any], **describes: Any) -> None:
    """Add a read-only view for the observer: `view` is its handler."""
    service.add("GET", OBSERVER_PATH + path, view, Role.OBSERVER, tag=openapi.OBSERVER, **describes)


class LongViews:
    """Shows whole slots: one at a time, for copies take memory."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._looking = asyncio.Lock()

    async def show(
        self,
        copy: Callable[[], Operation[T]],
        observe: Callable[[T], object],
        *,
        whole: bool = False,
    ) -> Response:
        """Answer with what `observe` makes, in a thread, of what `copy` has copied part by part.

        A `whole` view is of one moment, or 503 where calls never left time for it; else each part of a large
        slot is of a moment of its own.
        """
        service = self._service
        async with self._looking:
            for _ in range(VIEW_ATTEMPTS):
                before = service.runner.steps
                seen = [await drive(copy(), service.runner.perform)]
                if not whole or service.runner.steps == before:
                    break
            else:
                raise Problem(503, "calls went on all the time: look again", kind=ProblemType.NOT_NOW)
            # Order: the copy goes in the thread, too: to give so much memory back takes long.
            shown = await service.runner.perform(Offload(lambda: encoded(observe(seen.pop()))))
        return Response(shown, media_type=OCTETS if isinstance(shown, bytes) else JSON)


def encoded(shown: object) -> str | bytes:
    """Return what is shown as JSON, but octets as they are."""
    return shown if isinstance(shown, bytes) else json.dumps(shown)


def add_gfn_view(
    service: Service,
    views: LongViews,
    copied: Callable[[int], Operation[tuple[int, list[SlotT]]]],
    observe: Callable[[tuple[int, list[SlotT]]], dict[str, Any]],
) -> None:
    """Add the view of a VM's GFN states: `copied` copies the slots of an lpid, `observe` gives their runs."""

    async def gfns(
        lpid: Number,
        first: Annotated[Number, Query(description="The first GFN that is shown")] = 0,
        count: Annotated[Number, Query(description="How many are shown")] = U64_MAX,
        accept: Annotated[str, Header()] = JSON,
    ) -> Response:
        """Return the states of the GFNs of a VM, as runs of first GFN, pages and state.

        Where octets are accepted: one octet per GFN from `first` on, 255 for one in no slot.
        """
        if not accept.startswith(OCTETS):
            return await views.show(lambda: copied(lpid), lambda seen: within(observe(seen), first, count))
        if count > MOST_OCTETS:
            raise Problem(422, f"count: at most {MOST_OCTETS} where they are octets", "count")
        return await views.show(lambda: copied(lpid), lambda seen: state_octets(seen[1], first, count))

    add_view(service, "gfns", gfns, answer=openapi.ShownGfns, responses=openapi.OR_OCTETS)


def within(shown: dict[str, Any], first: int, count: int) -> dict[str, Any]:
    """Return the states that are shown of the `count` GFNs from `first` on."""
    if first == 0 and count == U64_MAX:
        return shown
    for slot in shown["slots"]:
        cut = (
            (max(gfn, first), min(gfn + pages, first + count), state) for gfn, pages, state in slot["states"]
        )
        slot["states"] = [[low, high - low, state] for low, high, state in cut if low < high]
    return shown


def state_octets(slots: Iterable[Slot], first: int, count: int) -> bytes:
    """Return the states of `count` GFNs from `first` on, one octet each; `NO_SLOT` where there is no slot."""
    states = np.full(count, NO_SLOT, np.uint8)
    for slot in slots:
        low, high = max(slot.first, first), min(slot.first + slot.count, first + count)
        if low < high:
            states[low - first : high - first] = slot.state[low - slot.first : high - slot.first]
    return states.tobytes()


def add_long_views(
    service: Service,
    views: LongViews,
    copied: Callable[[], Operation[T]],
    digest: Callable[[T], str],
    broken: Callable[[T], list[str]],
) -> None:
    """Add the two views of all that a side must not forget: its digest, and its broken invariants."""

    async def show_digest() -> Response:
        """Return a keyed hash of all that this side must not forget."""
        return await views.show(copied, lambda seen: {"digest": digest(seen)}, whole=True)

    async def show_invariants() -> Response:
        """Return a sentence for each invariant that is broken now."""
        return await views.show(copied, lambda seen: {"broken": broken(seen)}, whole=True)

    add_view(service, "digest", show_digest, answer=Digest, problems=(503,))
    add_view(service, "invariants", show_invariants, answer=Invariants, problems=(503,))
