"""The OpenAPI documents: valid, complete, true, and to be read without a network."""

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate

from harness.live import LivePair, LivePlan, live_pair
from harness.live_vm import LiveVm, live_vm
from pef_kit.runtime.examples import EXAMPLES, LPID, PRIVATE, Example
from pef_lab.guest import World
from pef_lab.minting import guest_token
from pef_protocol.calls import CALLS
from pef_protocol.events import Side
from pef_protocol.http import EPOCH, HYPERCALL_PATH, JSON, PROBLEM, ULTRACALL_PATH, VERSION_PATH, VMM_PATH

pytestmark = pytest.mark.sockets

SIDES = ("ultravisor", "hypervisor")
VIEWS = ("vms", "gfns", "digest", "invariants", "trace")
OPEN = {"/livez", "/readyz", "/v1/machine-key", VERSION_PATH}


@pytest.fixture(scope="module")
async def pair() -> AsyncIterator[LivePair]:
    """Start a pair."""
    async with live_pair(LivePlan(between=False)) as running:
        yield running


@pytest.fixture(scope="module")
async def vm(pair: LivePair) -> AsyncIterator[LiveVm]:
    """Make the VM that the examples are about: normal, with its image."""
    async with live_vm(pair) as made:
        assert made.lpid == LPID
        await made.load_image()
        yield made


def url_of(pair: LivePair, side: str) -> str:
    """Return where a side answers."""
    return pair.endpoints.ultravisor_url if side == "ultravisor" else pair.endpoints.hypervisor_url


async def get(pair: LivePair, side: str, path: str) -> httpx.Response:
    """Read a page as anybody may."""
    async with httpx.AsyncClient(trust_env=False) as client:
        response = await client.get(url_of(pair, side) + path)
    assert response.status_code == httpx.codes.OK
    return response


async def document(pair: LivePair, side: str) -> dict[str, Any]:
    """Return the document of a side."""
    found: dict[str, Any] = (await get(pair, side, "/openapi.json")).json()
    return found


@pytest.mark.parametrize("side", SIDES)
async def test_a_document_is_valid(pair: LivePair, side: str) -> None:
    found = await document(pair, side)
    validate(found)
    assert found["openapi"].startswith("3.1")


@pytest.mark.parametrize("side", SIDES)
async def test_each_operation_says_who_may_ask_and_how_it_refuses(pair: LivePair, side: str) -> None:
    found = await document(pair, side)
    order = [tag["name"] for tag in found["tags"]]
    for path, methods in found["paths"].items():
        for operation in methods.values():
            assert set(operation["tags"]) <= set(order), path
            assert bool(operation.get("security")) == (path not in OPEN), path
            refusals = {status for status in operation["responses"] if status[0] in "45"}
            assert {"413", "500"} <= refusals, path
            assert all(PROBLEM in operation["responses"][status]["content"] for status in refusals), path
    schemes = found["components"]["securitySchemes"]
    assert all(scheme["type"] == "http" and scheme["scheme"] == "bearer" for scheme in schemes.values())


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_is_described_by_its_own_codes_and_checks(pair: LivePair, name: str) -> None:
    call = CALLS[name]
    found = await document(pair, "ultravisor" if call.is_ultracall else "hypervisor")
    operation = found["paths"][path_of(name)]["post"]
    answer = operation["responses"]["200"]["content"][JSON]["schema"]
    assert set(answer["properties"]["code"]["properties"]["name"]["enum"]) == {
        code.name for code in call.codes
    }
    rows = re.findall(r"^\| \d+ \| (\w+) \| (\w+) \|", operation["description"], re.MULTILINE)
    assert rows == [(check.name, check.code.name) for check in call.check_order]
    assert [scheme for each in operation["security"] for scheme in each] == sorted(call.callers)


def path_of(name: str) -> str:
    """Return where a call is answered."""
    return (ULTRACALL_PATH if CALLS[name].is_ultracall else HYPERCALL_PATH) + name


async def test_the_examples_are_true(pair: LivePair, vm: LiveVm) -> None:
    """Each example of each call is played.

    Given a VM with its image
    When each example of each call is sent by who may make that call, in the order of a VM's life
    Then each answer is of the call's schema, with the code and the check that the example names.
    """
    assert EXAMPLES.keys() == CALLS.keys()
    documents = {side: await document(pair, side) for side in SIDES}
    for name, examples in EXAMPLES.items():
        call = CALLS[name]
        side = "ultravisor" if call.is_ultracall else "hypervisor"
        operation = documents[side]["paths"][path_of(name)]["post"]
        for example in examples:
            body = operation["requestBody"]["content"][JSON]
            shown = operation["responses"]["200"]["content"][JSON]
            OAS31Validator(body["schema"]).validate(example.request)
            assert body["examples"][example.name]["value"] == example.request
            response = await replayed(pair, vm, name, example)
            assert response.status_code == httpx.codes.OK, f"{name} {example.name}: {response.text}"
            answer = response.json()
            OAS31Validator(shown["schema"]).validate(answer)
            OAS31Validator(shown["schema"]).validate(shown["examples"][example.name]["value"])
            assert answer["code"]["name"] == example.code, f"{name} {example.name}: {answer}"
            assert (answer["check"] or {"name": ""})["name"] == example.check
        if name == "UV_ESM":
            vm.guest.world = World.SECURE
            for gfn in (PRIVATE, PRIVATE + 1):
                await vm.write(gfn)


async def replayed(pair: LivePair, vm: LiveVm, name: str, example: Example) -> httpx.Response:
    """Send an example as who may make the call."""
    call = CALLS[name]
    role = next(iter(call.callers)).value
    guest = await guest_token(pair.endpoints, Side.ULTRAVISOR, vm.lpid)
    token = guest if role == "guest" else pair.tokens[role.upper()]
    headers = {"authorization": f"Bearer {token}", EPOCH: pair.epoch}
    url = url_of(pair, "ultravisor" if call.is_ultracall else "hypervisor") + path_of(name)
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        return await client.post(url, json=example.request, headers=headers)


SEEN = [
    *((side, f"/v1/observer/{view}") for side in SIDES for view in VIEWS),
    *((side, path) for side in SIDES for path in ("/livez", "/readyz", VERSION_PATH)),
    *((side, "/v1/guests/{lpid}/incarnation") for side in SIDES),
    ("ultravisor", "/v1/epoch"),
    ("ultravisor", "/v1/machine-key"),
    ("hypervisor", "/v1/vmm/vms"),
]


@pytest.mark.parametrize(("side", "path"), SEEN)
async def test_what_is_shown_is_of_the_type_that_the_document_says(
    pair: LivePair, vm: LiveVm, side: str, path: str
) -> None:
    found = await document(pair, side)
    schema = found["paths"][path]["get"]["responses"]["200"]["content"][JSON]["schema"]
    token = pair.tokens["VMM" if path.startswith(VMM_PATH) else "OBSERVER"]
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        response = await client.get(
            url_of(pair, side) + path.replace("{lpid}", str(vm.lpid)),
            params={"lpid": vm.lpid, "after": 0},
            headers={"authorization": f"Bearer {token}"},
        )
    assert response.status_code == httpx.codes.OK, response.text
    OAS31Validator({**schema, "components": found["components"]}).validate(response.json())


@pytest.mark.parametrize("side", SIDES)
async def test_the_page_of_all_routes_needs_no_network(pair: LivePair, side: str) -> None:
    page = (await get(pair, side, "/docs")).text
    assert "SwaggerUIBundle" in page
    sources = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(sources) >= 2
    for source in sources:
        assert source.startswith("/"), f"{source} is elsewhere"
        assert (await get(pair, side, source)).content
    assert not re.search(r"https?://", page)


@pytest.mark.parametrize("side", SIDES)
async def test_the_first_page_is_one_of_links_that_lead_somewhere(pair: LivePair, side: str) -> None:
    page = (await get(pair, side, "/")).text
    links = re.findall(r'href="([^"]+)"', page)
    assert {"/docs", "/openapi.json", "/livez", "/readyz", "/metrics", VERSION_PATH} == set(links)
    for link in links:
        if link != "/metrics":
            await get(pair, side, link)
