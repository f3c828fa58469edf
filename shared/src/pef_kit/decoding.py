"""The door's check of form: whether a body is a request of that call.

Any unsigned 64-bit number passes; judging it is for the ladder. What is not JSON, lacks an argument, has one
too many or one of the wrong kind is refused here with the name of the field, before any rule is asked.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, create_model

from pef_kit.spans import columns_of
from pef_protocol.calls import CALLS, Call
from pef_protocol.quantities import U64_MAX
from pef_protocol.runs import PageRuns, PlacedRuns, Runs
from pef_protocol.wire import PAGES_AT_ONCE

U64 = Annotated[int, Field(strict=True, ge=0, le=U64_MAX)]
U64_DIGITS: Final = 20
LONGEST_SLOT: Final = 1 << 30
"""Pages of the longest memory slot, 64 TiB."""
Name = Annotated[str, StringConstraints(strict=True, max_length=64)]

KINDS: Final[Mapping[Any, Any]] = {
    str: Name,
    PageRuns: list[tuple[U64, U64]],
    PlacedRuns: list[tuple[U64, U64, U64]],
}
"""The form of an argument, by the type of its field; every other type is a number."""


class Malformed(ValueError):
    """A body that is no request of the call: names the field and says what is wrong with it."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class TooManyPages(ValueError):
    """A message whose runs name more pages than one message may."""


def require_few_pages(asked: Any) -> None:
    """Raise TooManyPages where the runs that may lie in a slot have over `PAGES_AT_ONCE` pages together.

    A longer run than any slot is refused by the checks of the call, and costs nothing.
    """
    runs = getattr(asked, "runs", None)
    if not isinstance(runs, Runs):
        return
    counts = columns_of(runs)[-1]
    pages = int(counts[counts <= np.uint64(LONGEST_SLOT)].sum())
    if pages > PAGES_AT_ONCE:
        message = f"a message may name {PAGES_AT_ONCE} pages, not {pages}: send several"
        raise TooManyPages(message)


def _model(call: Call) -> type[BaseModel]:
    forms: dict[str, Any] = {
        argument.name: (KINDS.get(argument.type, U64), ...) for argument in fields(call.request)
    }
    return create_model(call.request.__name__, __config__=ConfigDict(extra="forbid", frozen=True), **forms)


MODELS: Final[Mapping[str, type[BaseModel]]] = {name: _model(call) for name, call in CALLS.items()}
"""The form of each call's body, by the call's name: also what the OpenAPI page shows."""


def from_json(call: Call, body: bytes) -> Any:
    """Return the request in a JSON `body`; raise Malformed where it is none."""
    try:
        form = MODELS[call.name].model_validate_json(body or b"null")
    except ValidationError as refusal:
        first = refusal.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"]) or "body"
        raise Malformed(where, first["msg"]) from None
    arguments = {name: getattr(form, name) for name in call.arguments}
    if call.runs is not None:
        rows = np.array(arguments["runs"], np.uint64).reshape(-1, call.runs.WIDTH)
        arguments["runs"] = call.runs(rows.astype("<u8", copy=False).tobytes())
    return call.request(**arguments)


def u64_of(text: str) -> int | None:
    """Return the unsigned 64-bit number that decimal `text` of a query writes, or None."""
    written = text.isascii() and text.isdecimal() and len(text) <= U64_DIGITS
    value = int(text) if written else None
    return value if value is not None and value <= U64_MAX else None


def from_octets(call: Call, query: Mapping[str, str], body: bytes) -> Any:
    """Return the request whose runs are the words of `body` and whose scalars stand in `query`."""
    if call.runs is None:
        raise Malformed("content-type", "this call carries no runs: send JSON")
    arguments: dict[str, Any] = {}
    for name in call.arguments:
        if name == "runs":
            continue
        text = query.get(name)
        if text is None:
            raise Malformed(name, "Field required in the query")
        value = u64_of(text)
        if value is None:
            raise Malformed(name, "Input should be an unsigned 64-bit number")
        arguments[name] = value
    for name in query:
        if name not in arguments:
            raise Malformed(name, "Extra inputs are not permitted in the query")
    try:
        runs = call.runs(body)
    except ValueError as refusal:
        raise Malformed("runs", str(refusal)) from None
    return call.request(**arguments, runs=runs)
