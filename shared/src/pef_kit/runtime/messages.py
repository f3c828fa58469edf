"""Messages as they travel, both ways: a call as JSON or octets, its answer, and the fingerprint of a message.

A call has its arguments by name in a JSON object; with many runs it has them as octets, and its scalars in
the query. Any unsigned 64-bit number passes; judging it is for the call's checks. What is not JSON, lacks an
argument, has one too many or one of the wrong kind is refused here with the name of the field.

| refused runs of an answer | body |
|---|---|
| up to `RUNS_IN_JSON` | the JSON object of `pef_protocol.http` |
| more | 8 bytes, the length of that object; the object, its `refused` empty; rows of `CodedRuns` as words |

Trust: an answer is a claim. A code that the call may not give, or a refused run with the code of success, is
no answer.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, Final

import numpy as np
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    create_model,
)

from pef_kit.core.runs import columns_of
from pef_protocol.calls import CALLS, Call, Reply
from pef_protocol.codes import Code, HCode, UCode
from pef_protocol.http import (
    HYPERCALL_PATH,
    JSON,
    OCTETS,
    PAGES_AT_ONCE,
    RUNS_IN_JSON,
    ULTRACALL_PATH,
)
from pef_protocol.problems import ProblemType
from pef_protocol.quantities import U64_MAX
from pef_protocol.runs import WORD_BYTES, CodedRuns, PageRuns, PlacedRuns, Runs

U64 = Annotated[int, Field(strict=True, ge=0, le=U64_MAX)]
U64_DIGITS: Final = 20
MEMORY: Final = 16 << 20
"""Bytes of memory that one request may read or write."""
LONGEST_SLOT: Final = 1 << 30
"""Pages of the longest memory slot, 64 TiB."""
Name = Annotated[str, StringConstraints(strict=True, max_length=64)]


def decimal(text: Any) -> Any:
    """Return the number that a query or a path writes; raise ValueError where it is none."""
    if not isinstance(text, str):
        return text
    value = u64_of(text)
    if value is None:
        message = "not an unsigned 64-bit number"
        raise ValueError(message)
    return value


Number = Annotated[U64, BeforeValidator(decimal)]
"""A number in a query or a path: decimal digits, nothing else."""

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


def encode_call(call: Call, request: Any) -> dict[str, Any]:
    """Return path, body, media type and query of `request`: JSON, or octets where it has many runs."""
    path = (ULTRACALL_PATH if call.is_ultracall else HYPERCALL_PATH) + call.name
    arguments = {field.name: getattr(request, field.name) for field in fields(request)}
    runs = arguments.get("runs")
    if isinstance(runs, Runs):
        if len(runs) > RUNS_IN_JSON:
            del arguments["runs"]
            headers = {"content-type": OCTETS}
            return {"url": path, "params": arguments, "content": runs.words, "headers": headers}
        arguments["runs"] = list(runs)
    return {
        "url": path,
        "content": json.dumps(arguments).encode(),
        "headers": {"content-type": JSON},
    }


def fingerprint_of(path: str, query: str, media: str, body: bytes) -> str:
    """Return the fingerprint of a message: SHA-256, in hexadecimal digits."""
    digest = hashlib.sha256(f"{path}?{query}\n{media}\n".encode())
    digest.update(body)
    return digest.hexdigest()


LONGEST_JSON: Final = 256 << 10
"""Bytes that an answer in JSON may have."""
LONGEST_OCTETS: Final = LONGEST_JSON + PAGES_AT_ONCE * CodedRuns.WIDTH * WORD_BYTES
"""Bytes that an answer with many refused runs may have: a row for each page that a message may name."""


CHECKS: Final[Mapping[tuple[str, str], str]] = {
    (call.name, check.name): check.refuses for call in CALLS.values() for check in call.check_order
}
"""What each check refuses, by the names of its call and of the check."""


def longest_answer(media: str) -> int:
    """Return how many bytes an answer of that media type may have."""
    return LONGEST_OCTETS if media.startswith(OCTETS) else LONGEST_JSON


def envelope(name: str, reply: Reply) -> dict[str, Any]:
    """Return an answer as JSON; where many runs were refused they follow it, and do not stand in it."""
    many = len(reply.refused) > RUNS_IN_JSON
    return {
        "call": name,
        "code": {"name": reply.code.name, "number": int(reply.code)},
        "check": {"name": reply.check, "refuses": CHECKS[name, reply.check]} if reply.check else None,
        "outputs": dict(reply.outputs),
        "refused": [] if many else list(reply.refused.coded()),
        "detail": reply.detail,
    }


def encode_reply(name: str, reply: Reply) -> tuple[bytes, str]:
    """Return the body and the media type of an answer to call `name`."""
    words = json.dumps(envelope(name, reply)).encode()
    if len(reply.refused) <= RUNS_IN_JSON:
        return words, JSON
    return len(words).to_bytes(WORD_BYTES, "little") + words + reply.refused.words, OCTETS


def decode_reply(call: Call, body: bytes, media: str = JSON) -> Reply:
    """Return the reply in `body`; raise ValueError where it is no reply that `call` may have."""
    words, rows = _parted(body) if media.startswith(OCTETS) else (body, None)
    said = json.loads(words)
    codes: type[Code] = UCode if call.is_ultracall else HCode
    code = codes[said["code"]["name"]]
    if code not in call.codes or said["code"]["number"] != code:
        message = f"{code.name} ({said['code']['number']}) is not an answer to it"
        raise ValueError(message)
    outputs = said["outputs"]
    if not isinstance(outputs, dict):
        message = "its outputs are not an object"
        raise TypeError(message)
    refused = refused_of(said["refused"], rows)
    if len(refused):
        require_possible(call, refused)
    return Reply(code, outputs, refused, str(said["detail"]), _check_of(call, said.get("check")))


def _check_of(call: Call, said: Any) -> str:
    """Return the name of the check that an answer says refused; one that names none is an answer as well."""
    if said is None:
        return ""
    name = str(said["name"])
    if (call.name, name) not in CHECKS:
        message = f"it has no check {name[:64]}"
        raise ValueError(message)
    return name


def require_possible(call: Call, refused: CodedRuns) -> None:
    """Raise ValueError where a run is refused with a code that `call` refuses no run with."""
    numbers = columns_of(refused)[-1].view(np.int64)
    allowed = np.array([int(each) for each in call.codes - {call.success}], np.int64)
    impossible = numbers[~np.isin(numbers, allowed)]
    if len(impossible):
        message = f"a run of it can't be refused with {impossible.min()}"
        raise ValueError(message)


def refused_of(reported: Any, rows: bytes | None) -> CodedRuns:
    """Return the refused runs of an answer: `rows` where they are octets, else what JSON says."""
    if rows is not None:
        return CodedRuns(rows)
    return CodedRuns.from_rows(reported)


def _parted(body: bytes) -> tuple[bytes, bytes]:
    length = int.from_bytes(body[:WORD_BYTES], "little")
    if not 0 < length <= len(body) - WORD_BYTES:
        message = "its length is not that of an answer"
        raise ValueError(message)
    return body[WORD_BYTES : WORD_BYTES + length], body[WORD_BYTES + length :]


def problem_type(body: bytes) -> ProblemType | None:
    """Return the type of the problem in `body`, or None where it is none of ours."""
    try:
        return ProblemType(json.loads(body)["type"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
