"""What every service shows: health, counters, its trace, and views for the observer; outcomes for clients.

Trust: states, names and counts. No view holds the contents of a page.
"""

import asyncio
import json
from collections.abc import Callable
from html import escape
from typing import Annotated, Any, Final, TypeVar

from fastapi import Path, Response
from pydantic import BaseModel

from pef_kit.operations import Operation, Work
from pef_kit.runtime import openapi
from pef_kit.runtime.app import Service, json_response
from pef_kit.runtime.auth import Problem, TheCaller
from pef_kit.runtime.messages import Number
from pef_kit.runtime.runner import drive
from pef_protocol.problems import ProblemType
from pef_protocol.quantities import Lpid
from pef_protocol.wire import GUESTS_PATH, JSON, OBSERVER_PATH, OPERATIONS_PATH, Role

T = TypeVar("T")
LOOKS: Final = 8
"""How often a view that is to be of one moment is tried."""
TEXT: Final = "text/plain; version=0.0.4"
LINKS: Final = (
    ("/docs", "all routes, to read and to try: Authorize takes a bearer token for each role"),
    ("/openapi.json", "the same for programs"),
    ("/livez", "whether the process answers"),
    ("/readyz", "whether there is an epoch with the peer"),
    ("/metrics", "counters, for the observer"),
)


class Live(BaseModel):
    """The process answers."""

    live: bool


class Ready(BaseModel):
    """There is an epoch with the peer."""

    ready: bool


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

    async def metrics() -> Response:
        """Return the counters in Prometheus' text format."""
        return Response(service.observer.exposition(), media_type=TEXT)

    async def trace(after: Number) -> Response:
        """Return the calls that ended after event number `after`, oldest first."""
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
    text = {200: {"content": {TEXT: {"schema": {"type": "string"}}}, "description": "Counters"}}
    add("GET", "/", index, tag=openapi.HEALTH, include_in_schema=False)
    add("GET", "/livez", live, tag=openapi.HEALTH, answer=Live)
    add("GET", "/readyz", ready, tag=openapi.HEALTH, answer=Ready, problems=(503,))
    add("GET", "/metrics", metrics, Role.OBSERVER, tag=openapi.OBSERVER, responses=text)
    add(
        "GET", OBSERVER_PATH + "trace", trace, Role.OBSERVER, tag=openapi.OBSERVER, responses=openapi.ANY_JSON
    )
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
    answers = {"responses": openapi.ANY_JSON, **describes}
    service.add("GET", OBSERVER_PATH + path, view, Role.OBSERVER, tag=openapi.OBSERVER, **answers)


class LongViews:
    """Shows whole slots: one at a time, for copies take memory."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._looking = asyncio.Lock()

    async def show(
        self, copy: Callable[[], Operation[T]], look: Callable[[T], object], *, whole: bool = False
    ) -> Response:
        """Answer with what `look` makes, in a thread, of what `copy` has copied part by part.

        A `whole` view is of one moment, or 503 where calls never left time for it; else each part of a large
        slot is of a moment of its own.
        """
        service = self._service
        async with self._looking:
            for _ in range(LOOKS):
                before = service.runner.steps
                seen = [await drive(copy(), service.runner.perform)]
                if not whole or service.runner.steps == before:
                    break
            else:
                raise Problem(503, "calls went on all the time: look again", kind=ProblemType.NOT_NOW)
            # Order: the copy goes in the thread, too: to give so much memory back takes long.
            shown = await service.runner.perform(Work(lambda: json.dumps(look(seen.pop()))))
        return Response(shown, media_type=JSON)


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

    add_view(service, "digest", show_digest, answer=Digest, problems=(503,), responses={})
    add_view(service, "invariants", show_invariants, answer=Invariants, problems=(503,), responses={})
