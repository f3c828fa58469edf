"""Normal memory by real address, at its owner's door: what a Hypervisor reads and writes as it likes."""

from types import TracebackType
from typing import Final, Self

import httpx

from pef_kit.runtime.connections import UNREACHED, client_of
from pef_lab.between.passing import COUNT, ROW
from pef_lab.endpoint import unreached
from pef_lab.failures import Unanswered
from pef_protocol.http import EPOCH, NORMAL_MEMORY_PATH, OCTETS
from pef_protocol.quantities import PAGE_SIZE

PATIENCE: Final = 30.0
"""Seconds that a request may take."""
CONNECTIONS: Final = 8


class NormalMemoryDoor:
    """The Hypervisor's normal memory, entered with the Ultravisor's token."""

    def __init__(self, hypervisor_url: str, ultravisor_token: str, epoch: str) -> None:
        self._headers = {"content-type": OCTETS, EPOCH: epoch}
        self._client = client_of(hypervisor_url, ultravisor_token, connections=CONNECTIONS, timeout=PATIENCE)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def peek(self, ra: int, length: int = PAGE_SIZE) -> bytes:
        """Read normal memory."""
        return (await self._post("read", ROW.pack(ra, length), httpx.codes.OK)).content

    async def poke(self, ra: int, content: bytes) -> None:
        """Write normal memory."""
        rows = (1).to_bytes(COUNT, "little") + ROW.pack(ra, len(content))
        await self._post("write", rows + content, httpx.codes.NO_CONTENT)

    async def _post(self, road: str, body: bytes, wanted: int) -> httpx.Response:
        what = f"{NORMAL_MEMORY_PATH}{road} at the Hypervisor"
        try:
            response = await self._client.post(NORMAL_MEMORY_PATH + road, content=body, headers=self._headers)
        except UNREACHED as failure:
            raise unreached(what, self._client.base_url, failure) from None
        if response.status_code != wanted:
            raise Unanswered(what, f"HTTP status {response.status_code}")
        return response
