"""How the protocol travels over HTTP: paths, media types, headers, roles, problem body.

| what | form |
|---|---|
| a call | POST `/v1/ultracalls/{NAME}` or `/v1/hypercalls/{NAME}` |
| its arguments | a JSON object by argument name; runs as lists of rows |
| the same, many runs | `application/octet-stream`: rows of little-endian 64-bit words; scalars in the query |
| its answer | HTTP 200: `{"call","code":{"name","number"},"check","outputs","refused","detail"}` |
| the check that refused | `{"name","refuses"}`, or null where none did |
| who calls | the bearer token |
| not our protocol | 4xx, `application/problem+json` (RFC 9457) |
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pef_protocol.identity import Incarnation
from pef_protocol.quantities import Lpid

ULTRACALL_PATH: Final = "/v1/ultracalls/"
HYPERCALL_PATH: Final = "/v1/hypercalls/"
NORMAL_MEMORY_PATH: Final = "/v1/normal-memory/"
GUEST_PATH: Final = "/v1/guest/"
VMM_PATH: Final = "/v1/vmm/"
OBSERVER_PATH: Final = "/v1/observer/"
GUESTS_PATH: Final = "/v1/guests/"
OPERATIONS_PATH: Final = "/v1/operations/"

JSON: Final = "application/json"
OCTETS: Final = "application/octet-stream"
PROBLEM: Final = "application/problem+json"

CALL_ID: Final = "pef-call-id"
PARENT_ID: Final = "pef-parent-id"
DEPTH: Final = "pef-depth"
TRACEPARENT: Final = "traceparent"
IDEMPOTENCY_KEY: Final = "idempotency-key"
REPLAYED: Final = "idempotency-replayed"
"""With an answer that was given to an earlier request with the same key, or is read by its operation's id."""
IF_MATCH: Final = "if-match"

EPOCH: Final = "pef-epoch"
"""The epoch that a call between the sides is made in."""
SLOT: Final = "pef-slot"
"""The id of a call: session, depth, slot, number. Its answer bears the same."""
INCARNATION: Final = "pef-incarnation"
"""The incarnation of the SVM that a call means."""
TIME_LEFT: Final = "pef-time-left"
"""Milliseconds that the caller still waits, as a decimal number."""
FINGERPRINT: Final = "pef-fingerprint"
"""SHA-256 of a call's path, query, media type and body, in hexadecimal digits: a repeat has the same."""

EPOCH_PATH: Final = "/v1/epoch"
HELLO_PATH: Final = "/v1/hello"
VERSION_PATH: Final = "/v1/version"

RUNS_IN_JSON: Final = 256
"""A message with more runs than this travels as octets; so does an answer that refuses more."""

RUNS_AT_ONCE: Final = 1 << 15
"""Most runs of one message: who has more sends several."""

PAGES_AT_ONCE: Final = 1 << 17
"""Most pages that the runs of one message name together, 8 GiB."""

MAX_DEPTH: Final = 8
"""Calls nested deeper than this are refused: the protocol needs four."""


class Role(StrEnum):
    """Who a bearer token speaks for: what the privilege bits of the machine would say."""

    ULTRAVISOR = "ultravisor"
    HYPERVISOR = "hypervisor"
    GUEST = "guest"
    VMM = "vmm"
    OBSERVER = "observer"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a call. A guest has an lpid and runs as its kernel unless `problem_state`.

    `incarnation` is the life of the VM that is meant, as the side that is called names it.
    """

    role: Role
    lpid: Lpid | None = None
    problem_state: bool = False
    incarnation: Incarnation | None = None
    """Of a guest: the life of its VM that its token names. Of a visor: the SVM that its call means."""

    @property
    def is_vm_kernel(self) -> bool:
        """Tell whether a VM's kernel calls; lpid 0 is the Hypervisor's own partition."""
        return self.role is Role.GUEST and not self.problem_state and bool(self.lpid)
