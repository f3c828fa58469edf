"""Epochs as the lab speaks them: read the current one, or begin one as the Hypervisor that we play.

Source: rules 1, 2 and 16 of ARCHITECTURE.md, "Identity and time".
"""

import secrets
from collections.abc import Awaitable, Callable
from typing import Final

import httpx

from pef_lab.failures import Unanswered
from pef_protocol.http import EPOCH_PATH, HELLO_PATH

Send = Callable[..., Awaitable[httpx.Response]]
"""Makes a request as the Hypervisor: method, path, and what httpx takes beside."""

NONE: Final = ""
"""The epoch of a side that knows none."""


async def current_epoch(send: Send) -> str:
    """Return the current epoch of an Ultravisor; nothing where it tells none."""
    try:
        response = await send("GET", EPOCH_PATH)
    except Unanswered:
        return NONE
    return _epoch_in(response)


async def say_hello(send: Send) -> str:
    """Begin an epoch as a Hypervisor whose memory is reached over HTTP, and which keeps no answers."""
    read = await current_epoch(send)
    if read == NONE:
        return NONE
    form = {"instance": secrets.token_hex(16), "epoch": read, "memory": None, "slots": False}
    response = await send("POST", HELLO_PATH, json=form)
    if response.status_code != httpx.codes.OK:
        raise Unanswered(HELLO_PATH, f"HTTP status {response.status_code}: {response.text[:200]}")
    return _epoch_in(response)


def _epoch_in(response: httpx.Response) -> str:
    try:
        answer = response.json()
    except ValueError:
        return NONE
    reported = response.status_code == httpx.codes.OK and isinstance(answer, dict)
    return str(answer.get("epoch", NONE)) if reported else NONE
