"""Both services in this process, on real sockets, with one lpid to give, which is in use again at once."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import uvicorn
from pydantic import SecretStr
from starlette.types import ASGIApp, Receive, Scope, Send

from harness.loopback import Server
from pef_hypervisor.app import Settings
from pef_hypervisor.app import build as build_hypervisor
from pef_kit.runtime.connections import client_of
from pef_lab.image import GuestImage, build_image
from pef_lab.minting import incarnation_at
from pef_protocol.auth import mint_guest_token
from pef_protocol.events import Side
from pef_protocol.http import PROBLEM
from pef_protocol.quantities import PAGE_SIZE, Lpid
from pef_ultravisor.app import UltravisorSettings
from pef_ultravisor.app import build as build_ultravisor

LPID: Final = Lpid(1)
MEMORY: Final = 16 << 20
STEP: Final = 0.02
"""Seconds between looks at whether a side is ready."""
FREE: Final = 100 * PAGE_SIZE
"""From this guest address on a guest may use pages."""
VM: Final = {"design": "tracked", "secure_guest": True, "radix": True}
TOKENS: Final = {name: f"the-token-of-{name}" for name in ("ultravisor", "hypervisor", "observer", "vmm")}
KEYS: Final = {side: f"the key of guests at the {side}" for side in Side}


class Gate:
    """An application that lets each request in only while the gate is open; it counts what waits."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application
        self.opened = asyncio.Event()
        self.opened.set()
        self.waiting = 0
        self.came = asyncio.Condition()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request once the gate is open."""
        if scope["type"] == "http" and not self.opened.is_set():
            async with self.came:
                self.waiting += 1
                self.came.notify_all()
            await self.opened.wait()
        await self._application(scope, receive, send)

    async def holds(self, number: int) -> None:
        """Wait until `number` requests have come to the closed gate."""
        async with self.came:
            await self.came.wait_for(lambda: self.waiting >= number)


@dataclass
class TwoVisors:
    """A running pair, and what its clients need."""

    sockets: dict[Side, socket.socket]
    directory: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    gates: dict[Side, Gate] = field(default_factory=dict)
    image: GuestImage = field(init=False, repr=False)
    _services: dict[Side, AsyncExitStack] = field(default_factory=dict)

    def url(self, side: Side) -> str:
        """Return where a side is served."""
        return f"http://127.0.0.1:{self.sockets[side].getsockname()[1]}"

    def _build(self, side: Side) -> ASGIApp:
        other = Side.HYPERVISOR if side is Side.ULTRAVISOR else Side.ULTRAVISOR
        reported: dict[str, Any] = {
            "peer_url": self.url(other),
            "normal_memory": str(self.directory),
            "normal_memory_size": 1 << 30,
            "secure_memory": 64 << 20,
            "guest_key": KEYS[side],
            **{f"{name}_token": TOKENS[name] for name in ("ultravisor", "hypervisor", "observer")},
            **self.settings,
        }
        if side is Side.ULTRAVISOR:
            return build_ultravisor(
                UltravisorSettings(
                    machine_key=SecretStr("the key of this machine alone".ljust(32)), **reported
                )
            )
        return build_hypervisor(Settings(vmm_token=SecretStr(TOKENS["vmm"]), **reported))

    async def start(self, side: Side) -> None:
        """Serve a side, anew and from nothing."""
        gate = self.gates[side] = Gate(self._build(side))
        stack = self._services[side] = AsyncExitStack()
        await stack.enter_async_context(_served(gate, self.sockets[side].dup()))
        if len(self.gates) == len(Side):
            for each in Side:
                await self._be_ready(each)

    async def _be_ready(self, side: Side) -> None:
        while (await self.ask(side, "", "GET", "/readyz")).is_error:  # noqa: ASYNC110 - seen over HTTP alone
            await asyncio.sleep(STEP)

    async def stop(self, side: Side) -> None:
        """End a side."""
        await self._services.pop(side).aclose()

    async def ask(
        self, side: Side, token: str, method: str, path: str, headers: Mapping[str, str] = {}, **form: Any
    ) -> httpx.Response:
        """Send one request over a connection of its own."""
        client = client_of(self.url(side), token, connections=1, timeout=60)
        try:
            return await client.request(method, path, headers=headers, **form)
        finally:
            await client.aclose()

    async def vmm(self, method: str, path: str, **form: Any) -> httpx.Response:
        """Send a request as the VMM."""
        return await self.ask(Side.HYPERVISOR, TOKENS["vmm"], method, f"/v1/vmm/vms{path}", **form)

    async def mint(self, side: Side, lpid: int = LPID, *, problem_state: bool = False) -> str:
        """Mint the token of the VM that has `lpid` at a side now."""
        named = await incarnation_at(self.url(side), TOKENS["observer"], lpid)
        return mint_guest_token(KEYS[side], lpid, named, problem_state=problem_state)

    async def etag(self, lpid: int = LPID) -> str:
        """Return what `If-Match` says of the VM that has `lpid` at the Hypervisor now."""
        answer = await self.ask(Side.HYPERVISOR, TOKENS["observer"], "GET", f"/v1/guests/{lpid}/incarnation")
        return f'"{answer.json()["incarnation"]}"'

    async def normal_vm(self) -> None:
        """Make a VM with its image in its memory; its lpid is LPID."""
        made = (await self.vmm("POST", "", json=VM)).json()
        assert (made["name"], made["lpid"]) == ("OK", LPID), made
        slot = {"slotid": 0, "gpa": 0, "size": MEMORY}
        assert (await self.vmm("POST", f"/{LPID}/slots", json=slot)).json()["name"] == "OK"
        await self.load_image()

    async def load_image(self) -> None:
        """Write the image as the host does before a boot."""
        for gpa, content in self.image.layout:
            wrote = await self.vmm("POST", f"/{LPID}/write?gpa={gpa}", content=content)
            assert wrote.json()["name"] == "OK"

    async def enter(self) -> httpx.Response:
        """Make UV_ESM with a token of now."""
        form = {"kernel_base": self.image.kernel_base, "fdt": self.image.fdt_address}
        token = await self.mint(Side.ULTRAVISOR)
        return await self.ask(Side.ULTRAVISOR, token, "POST", "/v1/ultracalls/UV_ESM", json=form)

    async def secure_vm(self) -> None:
        """Make a secure VM."""
        await self.normal_vm()
        assert (await self.enter()).json()["code"]["name"] == "U_SUCCESS"

    async def destroy(self) -> None:
        """Destroy the VM."""
        assert (await self.vmm("DELETE", f"/{LPID}")).json()["name"] == "OK"

    async def view(self, side: Side, what: str) -> Any:
        """Return an observer's view."""
        answer = await self.ask(side, TOKENS["observer"], "GET", f"/v1/observer/{what}")
        return answer.json()

    async def digests(self) -> list[str]:
        """Return the digests of both sides."""
        return [(await self.view(side, "digest"))["digest"] for side in Side]

    async def broken(self) -> list[str]:
        """Return what either side says is broken."""
        return [line for side in Side for line in (await self.view(side, "invariants"))["broken"]]


@asynccontextmanager
async def _served(application: ASGIApp, listening: socket.socket) -> AsyncIterator[None]:
    config = uvicorn.Config(
        application,
        http="httptools",
        lifespan="on",
        access_log=False,
        log_level="critical",
        ws="none",
        timeout_graceful_shutdown=2,
    )
    server = Server(config)
    running = asyncio.ensure_future(server.serve([listening]))
    try:
        yield
    finally:
        server.should_exit = True
        await running


@asynccontextmanager
async def two_visors(directory: Path, **settings: Any) -> AsyncIterator[TwoVisors]:
    """Start both services; a small image is built for the machine."""
    sockets = {side: socket.create_server(("127.0.0.1", 0), backlog=128) for side in Side}
    pair = TwoVisors(sockets, directory, settings)
    async with AsyncExitStack() as stack:
        for listening in sockets.values():
            stack.enter_context(listening)
        for side in (Side.HYPERVISOR, Side.ULTRAVISOR):
            await pair.start(side)
            stack.push_async_callback(pair.stop, side)
        key = (await pair.ask(Side.ULTRAVISOR, "", "GET", "/v1/machine-key")).json()["public_key"]
        pair.image = build_image(
            memory_size=MEMORY,
            machine_public_key=bytes.fromhex(key),
            bootargs="quiet",
            files={"disk-key": b"of this tenant alone"},
            seed=7,
            kernel_size=3 * PAGE_SIZE,
            initrd_size=2 * PAGE_SIZE,
        )
        yield pair


def problem(answer: httpx.Response) -> tuple[int, str]:
    """Return the status of a refusal, which must be a problem, and its detail."""
    assert answer.headers["content-type"] == PROBLEM, answer.text
    return answer.status_code, answer.json()["detail"]
