"""Answers to calls as they travel: JSON, and octets of rows behind it where many runs were refused.

| refused runs | body |
|---|---|
| up to `RUNS_IN_JSON` | the JSON object of `pef_protocol.wire` |
| more | 8 bytes, the length of that object; the object, its `refused` empty; rows of `CodedRuns` as words |

Trust: an answer is a claim. A code that the call may not give, or a refused run with the code of success, is
no answer.
"""

import json
from typing import Any, Final

import numpy as np

from pef_kit.spans import columns_of
from pef_protocol.calls import Call, Reply
from pef_protocol.codes import Code, HCode, UCode
from pef_protocol.runs import WORD_BYTES, CodedRuns
from pef_protocol.wire import JSON, OCTETS, PAGES_AT_ONCE, RUNS_IN_JSON

LONGEST_JSON: Final = 256 << 10
"""Bytes that an answer in JSON may have."""
LONGEST_OCTETS: Final = LONGEST_JSON + PAGES_AT_ONCE * CodedRuns.WIDTH * WORD_BYTES
"""Bytes that an answer with many refused runs may have: a row for each page that a message may name."""


def longest_answer(media: str) -> int:
    """Return how many bytes an answer of that media type may have."""
    return LONGEST_OCTETS if media.startswith(OCTETS) else LONGEST_JSON


def envelope(name: str, reply: Reply) -> dict[str, Any]:
    """Return an answer as JSON; where many runs were refused they follow it, and do not stand in it."""
    many = len(reply.refused) > RUNS_IN_JSON
    return {
        "call": name,
        "code": {"name": reply.code.name, "number": int(reply.code)},
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
    return Reply(code, outputs, refused, str(said["detail"]))


def require_possible(call: Call, refused: CodedRuns) -> None:
    """Raise ValueError where a run is refused with a code that `call` refuses no run with."""
    numbers = columns_of(refused)[-1].view(np.int64)
    allowed = np.array([int(each) for each in call.codes - {call.success}], np.int64)
    impossible = numbers[~np.isin(numbers, allowed)]
    if len(impossible):
        message = f"a run of it can't be refused with {impossible.min()}"
        raise ValueError(message)


def refused_of(told: Any, rows: bytes | None) -> CodedRuns:
    """Return the refused runs of an answer: `rows` where they are octets, else what JSON says."""
    if rows is not None:
        return CodedRuns(rows)
    return CodedRuns.from_rows(told)


def _parted(body: bytes) -> tuple[bytes, bytes]:
    length = int.from_bytes(body[:WORD_BYTES], "little")
    if not 0 < length <= len(body) - WORD_BYTES:
        message = "its length is not that of an answer"
        raise ValueError(message)
    return body[WORD_BYTES : WORD_BYTES + length], body[WORD_BYTES + length :]
