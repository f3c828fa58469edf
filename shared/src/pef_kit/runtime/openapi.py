"""What routes say of themselves in the OpenAPI document: tags, problem responses, bodies of octets.

Tags are the callers, in the order in which they appear in a VM's life.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from pef_kit.runtime.edge import Rule
from pef_kit.runtime.messages import MEMORY
from pef_protocol.http import JSON, OCTETS, PROBLEM, Role

HEALTH: Final = "health"
VMM: Final = Role.VMM.value
GUEST: Final = Role.GUEST.value
OBSERVER: Final = Role.OBSERVER.value
BETWEEN: Final = "epoch"

TAGS: Final = [
    {"name": HEALTH, "description": "Whether the service runs, and is ready. No token is needed."},
    {"name": BETWEEN, "description": "How the two sides meet: the current epoch, and hello."},
    {"name": VMM, "description": "Creates a VM, gives it memory, and ends it."},
    {"name": GUEST, "description": "The VM itself: loads, stores, and the ultracalls of its kernel."},
    {"name": Role.ULTRAVISOR.value, "description": "What the Ultravisor asks of the Hypervisor."},
    {"name": Role.HYPERVISOR.value, "description": "What the Hypervisor asks of the Ultravisor."},
    {"name": OBSERVER, "description": "Reads states and counts, never the contents of a page."},
]
DESCRIPTION: Final = (
    "Each call that is understood is answered with HTTP 200 and a return code. A 4xx says that a message is "
    "not of this protocol, or not of this moment: nothing was done. The bearer token says who calls."
)
BINARY: Final = {"type": "string", "format": "binary"}
MEANINGS: Final[Mapping[int, str]] = {
    400: "Not a message of this protocol, or its body did not come whole",
    401: "No token, or one that this service does not know, or of a VM that has ended",
    403: "The route is for another role",
    404: "There is no such thing",
    408: "The body did not come in time",
    409: "Another epoch, another incarnation, or too late: nothing was done",
    410: "Done; the answer was too long to be kept",
    412: "The VM is another one than If-Match names",
    413: "The body is too long, or the runs name too many pages",
    422: "A field is missing, malformed or too large",
    425: "A repeat without its body came before the message itself",
    429: "Too many sessions in this epoch",
    500: "A fault of this service",
    503: "Not now: nothing was done, or the operation is still open",
}
OF_BODY: Final = (400, 408, 413)
OF_TOKEN: Final = (401, 403)

ANY_ANSWER: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {JSON: {"schema": {}}, OCTETS: {"schema": BINARY}}, "description": "The outcome"}
}
OR_OCTETS: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {OCTETS: {"schema": BINARY}}}}
"""Beside an answer in JSON: the bytes that were asked for."""
OCTETS_ALONE: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {OCTETS: {"schema": BINARY}}, "description": "The bytes that were asked for"}
}
MEMORY_BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {OCTETS: {"schema": {**BINARY, "maxLength": MEMORY}}},
    }
}
"""The body of a store: bytes of memory."""


def bus_body(limit: int | None) -> dict[str, Any]:
    """Return the body of a message of the memory bus: octets, of at most `limit` bytes."""
    schema = BINARY if limit is None else {**BINARY, "maxLength": limit}
    return {"requestBody": {"required": True, "content": {OCTETS: {"schema": schema}}}}


class Json(JSONResponse):
    """An answer in JSON, for the document."""


class ProblemBody(BaseModel):
    """Why a request was refused (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    field: str = ""
    operation: str = ""


class ShownSlot(BaseModel):
    """A memory slot, in pages."""

    slotid: int
    first: int
    count: int


class ShownVm(BaseModel):
    """A VM as the observer sees it; an SVM's design is told by the Hypervisor."""

    lpid: int
    state: str
    design: str | None
    gfns: int
    slots: list[ShownSlot]
    column_bytes: int


class Pool(BaseModel):
    """Pages of secure memory, or the host's device pages for them."""

    size: int
    used: int


class ShownVms(BaseModel):
    """All VMs of one side."""

    vms: list[ShownVm]
    pool: Pool


class SlotStates(ShownSlot):
    """The states of a slot's GFNs, as runs of first GFN, pages and state; `moving`: GFNs in flight."""

    states: list[tuple[int, int, str]]
    moving: int


class ShownGfns(BaseModel):
    """The states of all GFNs of a VM."""

    lpid: int
    slots: list[SlotStates]


def problem(status: int) -> dict[str, Any]:
    """Return the response that refuses with `status`, as the document has it."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": MEANINGS[status], "content": {PROBLEM: {"schema": schema}}}


def responses(
    rule: Rule, given: Mapping[int | str, dict[str, Any]], problems: Iterable[int]
) -> dict[int | str, dict[str, Any]]:
    """Return the responses of a route: those `given`, and each problem that its rule or handler may have."""
    statuses = {*OF_BODY, 422, 500, *problems}
    if rule.roles:
        statuses |= set(OF_TOKEN)
    if rule.needs_epoch:
        statuses |= {409, 503}
    if rule.between:
        statuses |= {409, 429, 503}
    return {**given, **{status: problem(status) for status in sorted(statuses)}}
