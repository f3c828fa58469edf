"""Any input over HTTP: whatever comes, no 5xx; and any numbers are answered by a code of the call.

A sync client, for hypothesis draws while it speaks; both services are processes of their own.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import fields
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from harness.live import LivePair, LivePlan, live_pair
from harness.live_vm import FREE, secure_vm
from pef_kit.runtime.messages import LONGEST_SLOT
from pef_lab.minting import guest_token
from pef_protocol.calls import CALLS
from pef_protocol.events import Side
from pef_protocol.http import (
    DEPTH,
    EPOCH,
    FINGERPRINT,
    GUEST_PATH,
    HELLO_PATH,
    HYPERCALL_PATH,
    INCARNATION,
    JSON,
    OCTETS,
    PAGES_AT_ONCE,
    PROBLEM,
    SLOT,
    TIME_LEFT,
    ULTRACALL_PATH,
    VMM_PATH,
)
from pef_protocol.quantities import PAGE_SIZE, U64_MAX
from pef_protocol.runs import PageRuns, PlacedRuns

# A test that is not async gets an async fixture only where it names the backend.
pytestmark = [pytest.mark.sockets, pytest.mark.slow, pytest.mark.usefixtures("anyio_backend")]

FEW = settings(
    max_examples=25,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
)
WIDTHS: dict[Any, int] = {PageRuns: PageRuns.WIDTH, PlacedRuns: PlacedRuns.WIDTH}
ENDING = {"UV_SVM_TERMINATE", "UV_UNREGISTER_MEM_SLOT"}


class Mouth:
    """Speaks to both services as whoever is asked for; short of words when a test fails."""

    def __init__(self, pair: LivePair, lpid: int, at_ultravisor: str, at_hypervisor: str) -> None:
        self.lpid = lpid
        self.urls = {
            "ultravisor": pair.endpoints.ultravisor_url,
            "hypervisor": pair.endpoints.hypervisor_url,
        }
        self.tokens = {
            **{name.lower(): token for name, token in pair.tokens.items()},
            "guest": at_ultravisor,
            "guest of the hypervisor": at_hypervisor,
            "nobody": "",
        }
        self.client = httpx.Client(trust_env=False, timeout=60, headers={EPOCH: pair.epoch})

    def __repr__(self) -> str:
        return "mouth"

    def say(self, method: str, side: str, path: str, role: str, **form: Any) -> httpx.Response:
        """Send a request as `role`; return whatever comes."""
        headers = {"authorization": f"Bearer {self.tokens[role]}"} if self.tokens[role] else {}
        headers |= form.pop("headers", {})
        return self.client.request(method, self.urls[side] + path, headers=headers, **form)


@pytest.fixture(scope="module")
async def mouth() -> AsyncIterator[Mouth]:
    """Start a pair with a secure VM; whatever is said to it, both sides hold what they promise."""
    async with live_pair(LivePlan(between=False)) as pair, secure_vm(pair) as vm:
        await vm.write(FREE)
        tokens = [
            await guest_token(pair.endpoints, side, vm.lpid) for side in (Side.ULTRAVISOR, Side.HYPERVISOR)
        ]
        speaker = Mouth(pair, vm.lpid, *tokens)
        yield speaker
        speaker.client.close()
        assert await pair.broken() == []


NUMBERS = st.one_of(
    st.sampled_from([0, 1, 2, 16, PAGE_SIZE, 1 << 32, 1 << 46, 1 << 48, 1 << 63, U64_MAX, U64_MAX - 1]),
    st.integers(0, U64_MAX),
    st.integers(0, 300).map(lambda pages: pages * PAGE_SIZE),
    st.integers(0, 300).map(lambda pages: (1 << 32) + pages * PAGE_SIZE),
)


@FEW
@given(asked=st.data())
@pytest.mark.parametrize("name", CALLS)
def test_any_numbers_are_answered_by_a_code_of_the_call(
    mouth: Mouth, name: str, asked: st.DataObject
) -> None:
    """Given a secure VM.

    When any call is made with any numbers,
    then it is answered with a code of that call, or 413 where it names too many pages.
    """
    call = CALLS[name]
    form: dict[str, Any] = {}
    for argument in fields(call.request):
        row = WIDTHS.get(argument.type, 0)
        if row:
            rows = st.lists(NUMBERS, min_size=row, max_size=row)
            form[argument.name] = asked.draw(st.lists(rows, max_size=5))
        elif argument.type is str:
            form[argument.name] = asked.draw(st.text(max_size=64))
        else:
            form[argument.name] = asked.draw(NUMBERS)
    if "lpid" in form:
        # The VM's own more often than not, but where that would end it.
        own = asked.draw(st.booleans())
        form["lpid"] = mouth.lpid if own and name not in ENDING else form["lpid"] | 1 << 13
    path, side = (ULTRACALL_PATH, "ultravisor") if call.is_ultracall else (HYPERCALL_PATH, "hypervisor")
    role = next(iter(call.callers)).value
    response = mouth.say("POST", side, path + name, role, json=form)
    pages = sum(row[-1] for row in form.get("runs", ()) if row[-1] <= LONGEST_SLOT)
    if pages > PAGES_AT_ONCE:
        assert response.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE
        return
    assert response.status_code == httpx.codes.OK, response.text
    answer = response.json()
    assert answer["code"]["name"] in {code.name for code in call.codes}
    assert all(number in {int(code) for code in call.codes} for _, _, number in answer["refused"])


def schema_of(mouth: Mouth, side: str) -> Any:
    """Return the OpenAPI document of a side."""
    document = mouth.say("GET", side, "/openapi.json", "nobody").json()
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=mouth.urls[side])
    return schema


ENDS = ("UV_SVM_TERMINATE", "UV_UNREGISTER", "/reset")
"""Routes that would end the VM of the other tests."""
OTHERS_LPID = 1 << 13
BODIES = {"json": "json", "data": "content", "content": "content"}
NAMES_OF_MESSAGES = {EPOCH, SLOT, FINGERPRINT, INCARNATION, TIME_LEFT, DEPTH}
"""Headers that most words would make a message of another moment."""


@pytest.mark.parametrize(
    ("side", "callers"),
    [
        ("ultravisor", {"hypervisor", "guest", "observer", "epoch", "health"}),
        ("hypervisor", {"ultravisor", "vmm", "guest", "observer", "health"}),
    ],
)
def test_what_the_openapi_document_lets_one_say(mouth: Mouth, side: str, callers: set[str]) -> None:
    """Whatever the document lets one say is no 5xx; and for every caller something of it is done."""
    operations = [operation.ok() for operation in schema_of(mouth, side).get_all_operations()]
    assert len(operations) > len(CALLS) + 5
    reached: dict[str, set[str]] = {}
    for operation in operations:
        if not any(name in operation.path for name in ENDS) and operation.path != HELLO_PATH:
            done = reached.setdefault(operation.definition.raw["tags"][0], set())
            if any(200 <= status < 300 for status in said(mouth, side, operation)):
                done.add(f"{operation.method} {operation.path}")
    assert {tag for tag, done in reached.items() if done} >= callers, reached
    assert len(set().union(*reached.values())) > len(operations) // 2, reached


def said(mouth: Mouth, side: str, operation: Any) -> list[int]:
    """Say what the document lets one say of an operation, mostly as who may; return how it was answered."""
    security = operation.definition.raw.get("security", [])
    roles = [scheme for each in security for scheme in each] or ["nobody"]
    statuses: list[int] = []

    @settings(FEW, max_examples=12)
    @given(
        case=operation.as_strategy(),
        role=st.sampled_from([*roles * 3, *sorted(mouth.tokens)]),
        own_vm=st.booleans(),
    )
    def no_5xx(case: Any, role: str, own_vm: bool) -> None:
        if "lpid" in case.path_parameters:
            own = own_vm and case.method != "DELETE"
            case.path_parameters["lpid"] = mouth.lpid if own else OTHERS_LPID
        form = case.as_transport_kwargs()
        path = form.pop("url").removeprefix(mouth.urls[side])
        dropped = {"authorization", *(NAMES_OF_MESSAGES if own_vm else ())}
        headers = {name: text for name, text in form.pop("headers").items() if name.lower() not in dropped}
        content = {to: form[of] for of, to in BODIES.items() if form.get(of) is not None}
        who = "guest of the hypervisor" if role == "guest" and side == "hypervisor" else role
        response = mouth.say(
            case.method, side, path, who, params=form.get("params"), headers=headers, **content
        )
        judge(response)
        statuses.append(response.status_code)

    no_5xx()
    return statuses


def judge(response: httpx.Response) -> None:
    """Check that an answer is one: 2xx, or 4xx with a problem body."""
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        assert response.headers["content-type"] in {PROBLEM, JSON}


PATHS = st.one_of(
    st.sampled_from(
        [
            GUEST_PATH + "load",
            GUEST_PATH + "store",
            f"{VMM_PATH}vms",
            f"{VMM_PATH}vms/1/slots",
            f"{VMM_PATH}vms/1/slots/1",
            f"{VMM_PATH}vms/1/read",
            f"{VMM_PATH}vms/1/write",
            f"{VMM_PATH}vms/1/unmap",
            f"{VMM_PATH}vms/99999999999999999999999999/unmap",
            f"{VMM_PATH}vms/x/reset",
            "/v1/normal-memory/read",
            "/v1/normal-memory/write",
            "/v1/observer/gfns",
            "/v1/observer/trace",
            "/v1/nowhere",
            f"{ULTRACALL_PATH}UV_PAGE_IN",
            f"{HYPERCALL_PATH}H_SVM_PAGE_IN",
        ]
    )
)
WORDS = st.one_of(NUMBERS.map(str), st.text(max_size=25), st.sampled_from(["-1", "1.5", "NaN", "", "٣", "²"]))
QUERIES = st.dictionaries(st.sampled_from(["gpa", "length", "lpid", "after", "flags", "order"]), WORDS)
SMALL = st.one_of(st.binary(max_size=100), st.integers(0, 40).map(lambda rows: b"\0" * (8 * rows)))
FORMS = st.dictionaries(
    st.sampled_from(["slotid", "gpa", "size", "count", "design", "secure_guest", "radix", "colour"]),
    st.one_of(NUMBERS, st.booleans(), st.none(), st.floats(), st.text(max_size=10), st.just("tracked")),
)


@settings(FEW, max_examples=400)
@given(
    method=st.sampled_from(["POST", "GET", "PUT"]),
    side=st.sampled_from(["ultravisor", "hypervisor"]),
    path=PATHS,
    query=QUERIES,
    content=st.one_of(SMALL, FORMS),
    media=st.sampled_from([JSON, OCTETS, "text/plain", "", "application/json; charset=utf-7"]),
    asked=st.data(),
)
def test_whatever_is_said_at_any_endpoint(
    mouth: Mouth,
    method: str,
    side: str,
    path: str,
    query: dict[str, str],
    content: Any,
    media: str,
    asked: st.DataObject,
) -> None:
    """Given a secure VM.

    When anything is said at any route with any role's token,
    then the answer is 2xx, or 4xx with a body that says why.
    """
    role = asked.draw(st.sampled_from(sorted(mouth.tokens)))
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    headers = {"content-type": media}
    judge(mouth.say(method, side, path, role, params=query, content=body, headers=headers))
