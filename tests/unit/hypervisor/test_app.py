"""The HTTP doors in process: who may enter, what is malformed, how outcomes travel. No socket is opened."""

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from harness.hypervisor_fixtures import HypervisorUnderTest
from pef_hypervisor.app import Settings, add_views, build
from pef_hypervisor.routes.bus import OwnBus, add_bus_routes
from pef_hypervisor.routes.guest import add_guest_routes
from pef_hypervisor.routes.vmm import add_vmm_routes
from pef_kit.core.effects import Effect
from pef_kit.core.fence import Fence
from pef_kit.core.life import Life
from pef_kit.runtime.app import Service
from pef_kit.runtime.auth import Authenticator
from pef_kit.runtime.bus import NORMAL_BASE
from pef_kit.runtime.trace import Observer
from pef_kit.runtime.views import add_common_routes
from pef_protocol.auth import mint_guest_token
from pef_protocol.calls import HYPERCALLS
from pef_protocol.events import Side
from pef_protocol.http import EPOCH, Role
from pef_protocol.identity import Epoch, InstanceId
from pef_protocol.states import HvGfnState

TOKENS = {role: f"the-token-of-the-{role}" for role in Role}
EPOCH_OF_TESTS = Epoch(InstanceId("0" * 32), 1)
LIMIT = 16 << 20
U64 = (1 << 64) - 1


class Routes:
    """A HypervisorUnderTest behind its doors."""

    def __init__(self) -> None:
        self.world = HypervisorUnderTest()
        self.service = Service(
            Side.HYPERVISOR,
            HYPERCALLS,
            self.world.hv.hypercall,
            authenticator=Authenticator(
                {role: TOKENS[role] for role in (Role.ULTRAVISOR, Role.VMM, Role.OBSERVER)}, "guest key"
            ),
            perform=self.perform,
            observer=Observer(Side.HYPERVISOR),
            fence=Fence(life=Life("the epoch of the tests", epoch=EPOCH_OF_TESTS)),
        )
        add_common_routes(self.service)
        add_vmm_routes(self.service, self.world.hv)
        add_guest_routes(self.service, self.world.hv)
        self.threads = ThreadPoolExecutor(1)
        bus = OwnBus(self.world.memory, self.threads)
        add_bus_routes(self.service, self.world.hv.store.memory, bus)
        add_views(self.service, self.world.hv)
        transport = httpx.ASGITransport(app=self.service.app)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://hypervisor")

    async def perform(self, effect: Effect) -> Any:
        """Perform as the world does."""
        return self.world.perform(effect)

    async def ask(self, role: Role, method: str, path: str, **form: Any) -> httpx.Response:
        """Make a request in a role; a guest is VM 1."""
        token = mint_guest_token("guest key", 1) if role is Role.GUEST else TOKENS[role]
        headers = {"authorization": f"Bearer {token}", EPOCH: str(EPOCH_OF_TESTS)}
        return await self.client.request(method, path, headers=headers | form.pop("headers", {}), **form)


@pytest.fixture
async def open_ports() -> AsyncIterator[Routes]:
    world = Routes()
    async with world.client:
        with world.threads:
            yield world


ROUTES = [
    ("POST", "/v1/vmm/vms", Role.VMM),
    ("DELETE", "/v1/vmm/vms/1", Role.VMM),
    ("POST", "/v1/vmm/vms/1/slots", Role.VMM),
    ("DELETE", "/v1/vmm/vms/1/slots/0", Role.VMM),
    ("POST", "/v1/vmm/vms/1/read?gpa=0&length=8", Role.VMM),
    ("POST", "/v1/vmm/vms/1/write?gpa=0", Role.VMM),
    ("POST", "/v1/vmm/vms/1/unmap", Role.VMM),
    ("POST", "/v1/vmm/vms/1/reset", Role.VMM),
    ("POST", "/v1/guest/load?gpa=0&length=8", Role.GUEST),
    ("POST", "/v1/guest/store?gpa=0", Role.GUEST),
    ("POST", "/v1/normal-memory/read", Role.ULTRAVISOR),
    ("POST", "/v1/normal-memory/write", Role.ULTRAVISOR),
    ("GET", "/v1/observer/vms", Role.OBSERVER),
    ("GET", "/v1/observer/gfns?lpid=1", Role.OBSERVER),
    ("GET", "/v1/observer/digest", Role.OBSERVER),
    ("GET", "/v1/observer/invariants", Role.OBSERVER),
    ("GET", "/v1/observer/trace?after=0", Role.OBSERVER),
    ("GET", "/metrics", Role.OBSERVER),
]


@pytest.mark.parametrize(("method", "path", "owner"), ROUTES)
async def test_a_endpoint_opens_for_its_own_role_alone(
    open_ports: Routes, method: str, path: str, owner: Role
) -> None:
    before = open_ports.world.hv.digest()
    assert (await open_ports.client.request(method, path)).status_code == 401
    others = {Role.ULTRAVISOR, Role.VMM, Role.OBSERVER, Role.GUEST} - {owner}
    for role in others:
        assert (await open_ports.ask(role, method, path)).status_code == 403
    assert (await open_ports.ask(Role.HYPERVISOR, method, path)).status_code == 401
    assert open_ports.world.hv.digest() == before


MALFORMED = [
    ("/v1/vmm/vms", b"not JSON", "body"),
    ("/v1/vmm/vms", b"", "body"),
    ("/v1/vmm/vms", b'{"design":"best","secure_guest":true,"radix":true}', "design"),
    ("/v1/vmm/vms", b'{"design":"eager","secure_guest":1,"radix":true}', "secure_guest"),
    ("/v1/vmm/vms", b'{"design":"eager","secure_guest":true}', "radix"),
    ("/v1/vmm/vms", b'{"design":"eager","secure_guest":true,"radix":true,"more":1}', "more"),
    ("/v1/vmm/vms/1/slots", b'{"slotid":1,"gpa":-1,"size":65536}', "gpa"),
    ("/v1/vmm/vms/1/slots", b'{"slotid":1,"gpa":0,"size":"65536"}', "size"),
    ("/v1/vmm/vms/1/slots", b'{"slotid":18446744073709551616,"gpa":0,"size":65536}', "slotid"),
    ("/v1/vmm/vms/1/unmap", b'{"gpa":0}', "count"),
    ("/v1/vmm/vms/one/reset", b"", "lpid"),
    ("/v1/vmm/vms/1/read?gpa=0", b"", "length"),
    ("/v1/vmm/vms/1/read?gpa=0x10&length=1", b"", "gpa"),
    (f"/v1/vmm/vms/1/read?gpa=0&length={LIMIT + 1}", b"", "length"),
    ("/v1/vmm/vms/1/write?gpa=18446744073709551616", b"x", "gpa"),
]


@pytest.mark.parametrize(("path", "body", "field"), MALFORMED)
async def test_a_malformed_request_is_a_problem_that_names_the_field(
    open_ports: Routes, path: str, body: bytes, field: str
) -> None:
    before = open_ports.world.hv.digest()
    answer = await open_ports.ask(Role.VMM, "POST", path, content=body)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert answer.json()["field"] == field
    assert open_ports.world.hv.digest() == before


async def test_too_much_is_413(open_ports: Routes) -> None:
    before = open_ports.world.hv.digest()
    answer = await open_ports.ask(Role.VMM, "POST", "/v1/vmm/vms/1/write?gpa=0", content=bytes(LIMIT + 1))
    assert (answer.status_code, open_ports.world.hv.digest()) == (413, before)


async def test_the_life_of_a_vm_over_http(open_ports: Routes) -> None:
    form = {"design": "tracked", "secure_guest": True, "radix": True}
    made = (await open_ports.ask(Role.VMM, "POST", "/v1/vmm/vms", json=form)).json()
    incarnation = str(open_ports.world.hv.incarnation_of(2))
    assert made == {"errno": 0, "name": "OK", "detail": "", "lpid": 2, "incarnation": incarnation}
    slot = {"slotid": 0, "gpa": 0, "size": 65536}
    for name in ("OK", "EEXIST"):
        answer = await open_ports.ask(Role.VMM, "POST", "/v1/vmm/vms/2/slots", json=slot)
        assert answer.json()["name"] == name
    await open_ports.ask(Role.VMM, "POST", "/v1/vmm/vms/2/write?gpa=5", content=b"text")
    seen = await open_ports.ask(Role.VMM, "POST", "/v1/vmm/vms/2/read?gpa=4&length=6")
    assert (seen.content, seen.headers["content-type"]) == (b"\0text\0", "application/octet-stream")
    fault = await open_ports.ask(Role.VMM, "POST", f"/v1/vmm/vms/2/read?gpa={U64}&length=6")
    assert (fault.json()["errno"], fault.json()["name"]) == (14, "EFAULT")
    unmapped = await open_ports.ask(Role.VMM, "POST", "/v1/vmm/vms/2/unmap", json={"gpa": 0, "count": 1})
    reset = await open_ports.ask(Role.VMM, "POST", "/v1/vmm/vms/2/reset")
    gone = await open_ports.ask(Role.VMM, "DELETE", "/v1/vmm/vms/2/slots/0")
    ended = await open_ports.ask(Role.VMM, "DELETE", "/v1/vmm/vms/2")
    assert {answer.json()["name"] for answer in (unmapped, reset, gone, ended)} == {"OK"}
    again = await open_ports.ask(Role.VMM, "DELETE", f"/v1/vmm/vms/{U64}")
    assert again.json()["name"] == "ENOENT"


async def test_a_guest_loads_and_stores(open_ports: Routes) -> None:
    stored = await open_ports.ask(Role.GUEST, "POST", "/v1/guest/store?gpa=9", content=b"text")
    assert stored.json() == {"access": "resolved"}
    loaded = await open_ports.ask(Role.GUEST, "POST", "/v1/guest/load?gpa=9&length=4")
    assert (loaded.content, loaded.headers["content-type"]) == (b"text", "application/octet-stream")
    refused = await open_ports.ask(Role.GUEST, "POST", f"/v1/guest/load?gpa={U64}&length=4")
    assert refused.json() == {"access": "refused", "reason": "no slot", "gpa": U64}
    long = await open_ports.ask(Role.GUEST, "POST", f"/v1/guest/load?gpa=0&length={(16 << 20) + 1}")
    assert (long.status_code, long.json()["field"]) == (422, "length")


async def test_the_bus_reads_and_writes_normal_memory_and_nothing_else(open_ports: Routes) -> None:
    row = NORMAL_BASE.to_bytes(8, "little") + (4).to_bytes(8, "little")
    one = (1).to_bytes(8, "little")
    written = await open_ports.ask(
        Role.ULTRAVISOR, "POST", "/v1/normal-memory/write", content=one + row + b"text"
    )
    assert (written.status_code, written.content) == (204, b"")
    read = await open_ports.ask(Role.ULTRAVISOR, "POST", "/v1/normal-memory/read", content=row + row)
    assert (read.status_code, read.content, read.headers["content-length"]) == (200, b"texttext", "8")
    elsewhere = bytes(8) + (4).to_bytes(8, "little")
    for path, body in (
        ("read", elsewhere),
        ("read", row[:-1]),
        ("write", one + elsewhere + b"evil"),
        ("write", one + row[:5]),
        ("write", one + row + b"too much"),
        ("write", b"123"),
    ):
        answer = await open_ports.ask(Role.ULTRAVISOR, "POST", f"/v1/normal-memory/{path}", content=body)
        assert answer.status_code == 422
    huge = await open_ports.ask(Role.ULTRAVISOR, "POST", "/v1/normal-memory/write", content=b"\xff" * 8)
    assert huge.status_code == 413


async def test_accesses_and_operations_are_events_without_their_bytes(open_ports: Routes) -> None:
    """Given loads, stores and operations, the trace has their arguments and how they ended, and no byte."""
    ask = open_ports.ask
    await ask(Role.GUEST, "POST", "/v1/guest/store?gpa=9", content=b"canary")
    await ask(Role.GUEST, "POST", f"/v1/guest/load?gpa={U64}&length=6")
    await ask(Role.VMM, "POST", "/v1/vmm/vms/1/write?gpa=8", content=b"canary")
    await ask(Role.VMM, "POST", "/v1/vmm/vms/1/read?gpa=8&length=6")
    await ask(Role.VMM, "POST", "/v1/vmm/vms/9/unmap", json={"gpa": 0, "count": 1})
    events = (await ask(Role.OBSERVER, "GET", "/v1/observer/trace?after=0")).json()
    assert [(event["phase"], event["kind"], event["caller"], event["name"]) for event in events] == [
        (phase, *what)
        for what in (
            ("access", "guest 1", "store"),
            ("access", "guest 1", "load"),
            ("operation", "vmm", "host_write"),
            ("operation", "vmm", "host_read"),
            ("operation", "vmm", "unmap"),
        )
        for phase in ("begin", "end")
    ]
    ends = [event for event in events if event["phase"] == "end"]
    assert [(event["arguments"], event["code"], event["detail"]) for event in ends] == [
        ({"gpa": 9, "length": 6}, "resolved", ""),
        ({"gpa": U64, "length": 6}, "refused", "no slot"),
        ({"lpid": 1, "gpa": 8, "length": 6}, "OK", ""),
        ({"lpid": 1, "gpa": 8, "length": 6}, "OK", ""),
        ({"lpid": 9, "gpa": 0, "count": 1}, "ENOENT", "no VM has lpid 9"),
    ]
    assert "canary" not in str(open_ports.service.observer.since(0))


async def test_the_observer_sees_states_and_no_contents(open_ports: Routes) -> None:
    await open_ports.ask(Role.VMM, "POST", "/v1/vmm/vms/1/write?gpa=0", content=b"canary")
    for path in ("vms", "gfns?lpid=1", "digest", "invariants", "trace?after=0"):
        answer = await open_ports.ask(Role.OBSERVER, "GET", f"/v1/observer/{path}")
        assert answer.status_code == 200
        assert b"canary" not in answer.content
    gfns = await open_ports.ask(Role.OBSERVER, "GET", "/v1/observer/gfns?lpid=1")
    assert gfns.json()["slots"][0]["states"] == [[0, 16, "NORMAL"]]
    some = await open_ports.ask(Role.OBSERVER, "GET", "/v1/observer/gfns?lpid=1&first=3&count=2")
    assert some.json()["slots"][0]["states"] == [[3, 2, "NORMAL"]]
    digest = await open_ports.ask(Role.OBSERVER, "GET", "/v1/observer/digest")
    assert digest.json() == {"digest": open_ports.world.hv.digest()}


async def test_the_states_of_gfns_travel_as_octets(open_ports: Routes) -> None:
    path, octets = "/v1/observer/gfns?lpid=1&first=14&count=4", {"accept": "application/octet-stream"}
    answer = await open_ports.ask(Role.OBSERVER, "GET", path, headers=octets)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.content == bytes([HvGfnState.NORMAL, HvGfnState.NORMAL, 255, 255])
    most = await open_ports.ask(Role.OBSERVER, "GET", "/v1/observer/gfns?lpid=1", headers=octets)
    assert (most.status_code, most.json()["field"]) == (422, "count")


async def test_a_hypercall_over_http_is_the_one_of_the_object(open_ports: Routes) -> None:
    answer = await open_ports.ask(
        Role.ULTRAVISOR, "POST", "/v1/hypercalls/H_SVM_INIT_START", json={"lpid": 1}
    )
    assert answer.json()["code"]["name"] == "H_SUCCESS"
    assert answer.json()["outputs"] == {"design": "tracked"}
    guest = await open_ports.ask(Role.GUEST, "POST", "/v1/hypercalls/H_SVM_INIT_DONE", json={"lpid": 1})
    assert guest.json()["code"]["name"] == "H_UNSUPPORTED"


async def test_a_service_whose_peer_is_down_says_so_and_makes_no_vm() -> None:
    settings = Settings(
        peer_url="http://127.0.0.1:9",
        peer_timeout=5,
        hypervisor_token=SecretStr(TOKENS[Role.HYPERVISOR]),
        ultravisor_token=SecretStr(TOKENS[Role.ULTRAVISOR]),
        observer_token=SecretStr(TOKENS[Role.OBSERVER]),
        vmm_token=SecretStr(TOKENS[Role.VMM]),
        guest_key=SecretStr("the key of the guests"),
        normal_memory_size=1 << 30,
    )
    app = build(settings)
    transport = httpx.ASGITransport(app=app)
    headers = {"authorization": f"Bearer {TOKENS[Role.VMM]}"}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://hypervisor", headers=headers) as client,
    ):
        form = {"design": "tracked", "secure_guest": True, "radix": True}
        made = await client.post("/v1/vmm/vms", json=form)
        ready = await client.get("/readyz")
    assert made.status_code == ready.status_code == 503
    assert "the Ultravisor has not answered hello" in made.json()["detail"]
