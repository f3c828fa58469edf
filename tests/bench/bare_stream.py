"""The barest ASGI application that streams: the floor of page contents over HTTP. Run with a port."""

import sys
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

CHUNK = bytes(1 << 20)


async def app(
    scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[..., Awaitable[None]]
) -> None:
    """Answer GET /?chunks with as many MiB, and take what is posted."""
    if scope["type"] != "http":
        return
    if scope["method"] == "POST":
        while (await receive()).get("more_body"):
            pass
    chunks = int(scope["query_string"] or 0)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(chunks):
        await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), loop="uvloop", http="httptools", log_level="warning")
