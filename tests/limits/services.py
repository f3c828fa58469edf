"""One service as a process of its own, set for short times, and plain sockets to it."""

import secrets
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pef_lab.ports import free_ports
from pef_lab.service_process import LIVE, ServiceProcess
from pef_lab.starting import HYPERVISOR_SCRIPT, ULTRAVISOR_SCRIPT
from pef_protocol.auth import mint_guest_token
from pef_protocol.quantities import Lpid

SCRIPTS: Final = {"ultravisor": ULTRAVISOR_SCRIPT, "hypervisor": HYPERVISOR_SCRIPT}
READ_TIMEOUT: Final = 1
"""Seconds that the service gives a request to arrive."""
LONGEST_WAIT: Final = 5.0
"""Seconds after which a test says that something never happens."""
CONNECTIONS: Final = 64


@dataclass(frozen=True, slots=True)
class Alone:
    """A running service whose peer is not there."""

    process: ServiceProcess
    port: int
    tokens: dict[str, str] = field(repr=False)
    guest_key: str = field(repr=False)

    def connect(self) -> socket.socket:
        """Open a connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=LONGEST_WAIT)

    def guest_token(self) -> str:
        """Return the token of some guest."""
        return mint_guest_token(self.guest_key, Lpid(1))

    def bytes_read(self) -> int:
        """Return how many bytes the process has read since it started, from whatever."""
        lines = Path(f"/proc/{self.process.pid}/io").read_text(encoding="ascii").splitlines()
        return int(dict(line.split(": ") for line in lines)["rchar"])

    def children(self) -> str:
        """Return the ids of the processes that the service has started."""
        return Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(encoding="ascii")


@asynccontextmanager
async def alone(side: str, **variables: str) -> AsyncIterator[Alone]:
    """Start the service of `side`, and stop it at the end."""
    directory = Path(tempfile.mkdtemp(prefix="pef-limits-"))
    (port,) = free_ports(1)
    tokens = {name: secrets.token_hex(16) for name in ("ULTRAVISOR", "HYPERVISOR", "OBSERVER", "VMM")}
    key = secrets.token_hex(16)
    process = ServiceProcess(
        SCRIPTS[side],
        {
            "PEF_PORT": str(port),
            "PEF_PEER_URL": "http://127.0.0.1:9",
            "PEF_GUEST_KEY": key,
            "PEF_NORMAL_MEMORY_SIZE": str(1 << 30),
            "PEF_SECURE_MEMORY": str(1 << 30),
            "PEF_READ_TIMEOUT": str(READ_TIMEOUT),
            "PEF_STOP_TIMEOUT": "1",
            "PEF_CONNECTIONS": str(CONNECTIONS),
            **{f"PEF_{name}_TOKEN": token for name, token in tokens.items()},
            **variables,
        },
        directory / "log",
    )
    try:
        await process.until_ready(f"http://127.0.0.1:{port}", LIVE)
        yield Alone(process, port, tokens, key)
    finally:
        process.stop()
        shutil.rmtree(directory, ignore_errors=True)


def request(path: str, token: str, length: int, *headers: str) -> bytes:
    """Return the head of a POST request with a body of `length` bytes."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: visor",
        f"Authorization: Bearer {token}",
        "Content-Type: application/octet-stream",
        f"Content-Length: {length}",
        *headers,
        "",
        "",
    ]
    return "\r\n".join(lines).encode()


def everything(connection: socket.socket) -> bytes:
    """Return all that comes until the other side closes; raise TimeoutError where it does not."""
    came = bytearray()
    try:
        while some := connection.recv(1 << 16):
            came += some
    except ConnectionResetError:
        pass
    return bytes(came)
