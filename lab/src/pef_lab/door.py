"""One door of one service, as one role: every request of the lab goes through here.

What is no answer of the protocol - no connection, too late, a 4xx or 5xx - becomes `Unanswered`, with the
problem body's own words. Bodies are never put into an exception: they may be a page.
"""

from types import TracebackType
from typing import Any, Final, Self

import httpx

from pef_kit.answers import decode_reply
from pef_kit.peer import client_of, encode_call
from pef_lab.failures import Unanswered
from pef_protocol.calls import CALLS, Reply
from pef_protocol.wire import EPOCH, JSON, OCTETS, PROBLEM

PATIENCE: Final = 600.0
"""Seconds that a request may take: `eager` on a large machine is slow, and that is its point."""
CONNECTIONS: Final = 64


class Door:
    """A service's door, entered with one token; a visor's calls name `epoch`."""

    def __init__(self, name: str, base_url: str, token: str, epoch: str = "") -> None:
        self.name = name
        self._epoch = {EPOCH: epoch} if epoch else {}
        self._client = client_of(base_url, token, connections=CONNECTIONS, timeout=PATIENCE)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def ask(self, method: str, path: str, **form: Any) -> httpx.Response:
        """Send a request; return the answer if its status is 200, raise Unanswered if not."""
        what = f"{method} {path} at the {self.name}"
        try:
            response = await self._client.request(method, path, **form)
        except (httpx.HTTPError, OSError) as failure:
            raise Unanswered(what, f"no answer ({str(failure) or type(failure).__name__})") from None
        if response.status_code != httpx.codes.OK:
            raise Unanswered(what, _problem(response))
        return response

    async def view(self, path: str, **query: int) -> Any:
        """Return the JSON at `path`."""
        return (await self.ask("GET", path, params=query)).json()

    async def post(self, path: str, body: Any) -> httpx.Response:
        """Post `body` as JSON."""
        return await self.ask("POST", path, json=body)

    async def send(self, path: str, content: bytes, **query: int) -> httpx.Response:
        """Post octets."""
        return await self.ask("POST", path, content=content, headers={"content-type": OCTETS}, params=query)

    async def call(self, name: str, request: object) -> Reply:
        """Make a call of the protocol and return its reply."""
        form = encode_call(CALLS[name], request)
        form["headers"] |= self._epoch
        response = await self.ask("POST", form.pop("url"), **form)
        try:
            media = response.headers.get("content-type", JSON)
            return decode_reply(CALLS[name], response.content, media)
        except (ValueError, KeyError, TypeError) as failure:
            raise Unanswered(
                f"{name} at the {self.name}", f"not an answer of the protocol: {failure}"
            ) from None


def is_octets(response: httpx.Response) -> bool:
    """Tell whether an answer is bytes of memory rather than words about them."""
    return bool(response.headers.get("content-type", "").startswith(OCTETS))


def _problem(response: httpx.Response) -> str:
    status = f"HTTP status {response.status_code}"
    if response.headers.get("content-type", "").startswith((PROBLEM, JSON)):
        body = response.json()
        if isinstance(body, dict) and body.get("detail"):
            return f"{status}: {body['detail']}"
    return status
