"""The OpenAPI document of a side: the typed routes as FastAPI knows them, and the calls from the call table.

For each call: its body as JSON and as octets, its answer with the codes that it may give, the order of its
checks as a table, and examples that a test plays.
"""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from pef_kit.runtime.edge import JSON_OF_RUNS
from pef_kit.runtime.examples import EXAMPLES
from pef_kit.runtime.messages import MODELS, envelope
from pef_kit.runtime.openapi import BINARY, TAGS, ProblemBody, problem
from pef_protocol.calls import Call, Reply
from pef_protocol.codes import Code
from pef_protocol.events import Side
from pef_protocol.http import (
    CALL_ID,
    DEPTH,
    EPOCH,
    FINGERPRINT,
    HYPERCALL_PATH,
    IDEMPOTENCY_KEY,
    INCARNATION,
    JSON,
    OCTETS,
    PARENT_ID,
    RUNS_AT_ONCE,
    SLOT,
    TIME_LEFT,
    TRACEPARENT,
    ULTRACALL_PATH,
    Role,
)
from pef_protocol.quantities import U64_MAX
from pef_protocol.runs import WORD_BYTES
from pef_protocol.version import VERSION

WORD: Final = {"type": "integer", "minimum": 0, "maximum": U64_MAX}
OF_CALL: Final = (400, 401, 408, 409, 413, 422, 425, 429, 500, 503)
"""Statuses that the answer to a call may have beside 200."""


def document(app: FastAPI, side: Side, calls: tuple[Call, ...]) -> dict[str, Any]:
    """Return the whole document, made once."""
    if app.openapi_schema is None:
        found = get_openapi(
            title=app.title,
            version=VERSION,
            description=app.description,
            routes=app.routes,
            tags=app.openapi_tags,
        )
        paths = {path_of(call): {"post": operation_of(call)} for call in calls}
        found["paths"] = {**paths, **found["paths"]}
        parts = found.setdefault("components", {})
        parts.setdefault("schemas", {})["Problem"] = ProblemBody.model_json_schema()
        schemes = parts.setdefault("securitySchemes", {})
        for call in calls:
            for role in call.callers:
                schemes.setdefault(role.value, {"type": "http", "scheme": "bearer"})
        used = {tag for path in found["paths"].values() for each in path.values() for tag in each["tags"]}
        found["tags"] = [tag for tag in TAGS if tag["name"] in used]
        found["info"]["title"] = f"PEF {side}"
        app.openapi_schema = found
    return app.openapi_schema


def path_of(call: Call) -> str:
    """Return where a call is answered."""
    return (ULTRACALL_PATH if call.is_ultracall else HYPERCALL_PATH) + call.name


def operation_of(call: Call) -> dict[str, Any]:
    """Return a call as the document has it."""
    examples = EXAMPLES.get(call.name, ())
    content: dict[str, Any] = {
        JSON: {
            "schema": MODELS[call.name].model_json_schema(),
            "examples": {each.name: {"summary": each.summary, "value": each.request} for each in examples},
        }
    }
    if call.runs is not None:
        rows = f"Rows of {call.runs.WIDTH} little-endian 64-bit words: {', '.join(columns_of(call))}."
        longest = RUNS_AT_ONCE * call.runs.WIDTH * WORD_BYTES
        content[OCTETS] = {"schema": {**BINARY, "maxLength": longest, "description": rows}}
    answers = {
        each.name: {"summary": each.summary, "value": answer_of(call, each.code, each.check)}
        for each in examples
    }
    answer: dict[str, Any] = {JSON: {"schema": answer_schema(call), "examples": answers}}
    if call.runs is not None:
        behind = "8 bytes, the length of the JSON object; the object; rows of refused runs as words."
        answer[OCTETS] = {"schema": {**BINARY, "description": behind}}
    callers = sorted(role.value for role in call.callers)
    return {
        "operationId": call.name,
        "tags": callers[:1],
        "summary": f"{call.name} ({call.number:#06x})",
        "description": description_of(call),
        "security": [{caller: []} for caller in callers],
        "parameters": parameters_of(call),
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": {"description": "Answered: the code says with what", "content": answer},
            **{str(status): problem(status) for status in OF_CALL},
        },
    }


def columns_of(call: Call) -> tuple[str, ...]:
    """Return what the words of one run are."""
    gpa_and_count = ("guest physical address", "pages")
    return (
        gpa_and_count
        if call.runs is None or len(gpa_and_count) == call.runs.WIDTH
        else (
            "real address",
            *gpa_and_count,
        )
    )


def description_of(call: Call) -> str:
    """Return what a call asks for, who may make it, and the order of its checks as a table."""
    lines = [
        (call.request.__doc__ or "").strip(),
        f"Caller: {', '.join(sorted(call.callers))}. Source: {call.source}.",
        "The first check that fails gives the code:",
        "| # | check | code | refuses | judges |\n| --- | --- | --- | --- | --- |\n"
        + "\n".join(
            f"| {place} | {check.name} | {check.code.name} | {check.refuses} | "
            f"{'each run' if check.per_run else 'the message'} |"
            for place, check in enumerate(call.check_order, 1)
        ),
    ]
    if call.later:
        lines.append(f"Once all checks are passed: {', '.join(code.name for code in call.later)}.")
    if call.runs is not None:
        lines.append(
            f"Many runs travel as octets, and the other arguments in the query. JSON may have "
            f"{JSON_OF_RUNS >> 10} KiB."
        )
    return "\n\n".join(lines)


def codes_of(call: Call) -> list[Code]:
    """Return the codes of a call: success, then those of its checks in order, then the others."""
    wanted = [call.success, *(check.code for check in call.check_order), *call.later, *sorted(call.elsewhere)]
    return list(dict.fromkeys(wanted))


def answer_schema(call: Call) -> dict[str, Any]:
    """Return the schema of the answer to a call: its own codes, and its own checks."""
    codes = codes_of(call)
    code = {
        "type": "object",
        "required": ["name", "number"],
        "additionalProperties": False,
        "properties": {
            "name": {"type": "string", "enum": [each.name for each in codes]},
            "number": {"type": "integer", "enum": [int(each) for each in codes]},
        },
    }
    checks = {
        "type": "object",
        "required": ["name", "refuses"],
        "additionalProperties": False,
        "properties": {
            "name": {"type": "string", "enum": list(dict.fromkeys(check.name for check in call.check_order))},
            "refuses": {"type": "string"},
        },
    }
    row = {
        "type": "array",
        "prefixItems": [WORD, WORD, {"type": "integer", "enum": [int(each) for each in codes[1:]]}],
        "minItems": 3,
        "maxItems": 3,
    }
    parts: dict[str, Any] = {
        "call": {"const": call.name},
        "code": code,
        "check": {"description": "The check that refused, if one did.", "oneOf": [checks, {"type": "null"}]},
        "outputs": {"type": "object", "additionalProperties": {"type": ["integer", "string"]}},
        "refused": {
            "description": "Runs that were refused, with the number of the code of each.",
            "type": "array",
            "items": row,
        },
        "detail": {"description": "For people.", "type": "string"},
    }
    return {"type": "object", "required": list(parts), "additionalProperties": False, "properties": parts}


def answer_of(call: Call, code: str, check: str) -> dict[str, Any]:
    """Return an example of an answer."""
    found = next(each for each in codes_of(call) if each.name == code)
    return envelope(call.name, Reply(found, check=check))


def parameters_of(call: Call) -> list[dict[str, Any]]:
    """Return the headers of a call, and the scalars that stand in the query where its runs are octets."""

    def header(name: str, description: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
        given = schema or {"type": "string", "maxLength": 128}
        return {"name": name, "in": "header", "required": False, "description": description, "schema": given}

    number = {"type": "string", "pattern": "^[0-9]{1,20}$"}
    scalars = [name for name in call.arguments if name != "runs"] if call.runs is not None else []
    found = [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": "Where the body is octets",
            "schema": WORD,
        }
        for name in scalars
    ]
    found += [
        header(CALL_ID, "Names this call in traces"),
        header(PARENT_ID, "The call that this one is nested in"),
        header(TRACEPARENT, "The trace that this call belongs to (W3C)"),
    ]
    if call.callers == {Role.GUEST}:
        return [*found, header(IDEMPOTENCY_KEY, "Names this request: a repeat acts once")]
    return [
        *found,
        header(EPOCH, "The epoch that the call is made in"),
        header(SLOT, "session.depth.slot.number: the call's own, for its answer to be kept"),
        header(FINGERPRINT, "SHA-256 of the message: a repeat has the same"),
        header(INCARNATION, "The SVM that is meant"),
        header(TIME_LEFT, "Milliseconds that the caller still waits", number),
        header(DEPTH, "How deep the call is nested", number),
    ]
