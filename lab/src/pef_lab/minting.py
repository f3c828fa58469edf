"""Who mints guests' tokens: it holds both guest keys, and asks the endpoint which VM an lpid means now.

One incarnation is one tenant's: whoever mints gives tokens of it to nobody else.
"""

from typing import Final

import httpx

from pef_kit.runtime.connections import UNREACHED, client_of
from pef_lab.endpoint import unreached
from pef_lab.endpoints import Endpoints
from pef_lab.failures import Unanswered, WrongInput
from pef_protocol.auth import mint_guest_token
from pef_protocol.events import Side
from pef_protocol.http import GUESTS_PATH
from pef_protocol.identity import Incarnation

ASKING: Final = 30.0
"""Seconds that an endpoint may take to say which incarnation a VM has."""


async def incarnation_at(url: str, token: str, lpid: int) -> Incarnation | None:
    """Return the incarnation of the VM that has `lpid` at the endpoint at `url` now, or None where none has.

    `token` is the observer's, or the VMM's. Raise Unanswered where the endpoint gives no answer.
    """
    path = f"{GUESTS_PATH}{lpid}/incarnation"
    what = f"GET {path} at {url}"
    client = client_of(url, token, connections=1, timeout=ASKING)
    try:
        answer = await client.get(path)
    except UNREACHED as failure:
        raise unreached(what, url, failure) from None
    finally:
        await client.aclose()
    if answer.status_code == httpx.codes.NOT_FOUND:
        return None
    try:
        found = Incarnation.parse(answer.json()["incarnation"]) if answer.is_success else None
    except (ValueError, KeyError, TypeError, RecursionError):
        found = None
    if found is None:
        raise Unanswered(what, f"HTTP status {answer.status_code}, no incarnation")
    return found


async def token_of_vm(endpoints: Endpoints, side: Side, lpid: int, *, problem_state: bool = False) -> str:
    """Mint the token of the VM that has `lpid` at a side now; raise WrongInput where no VM has it."""
    url, key = _at(endpoints, side)
    incarnation = await incarnation_at(url, endpoints.observer_token, lpid)
    if incarnation is None:
        raise WrongInput(f"no VM has lpid {lpid} at the {side.capitalize()}")
    return mint_guest_token(key, lpid, incarnation, problem_state=problem_state)


async def guest_token(endpoints: Endpoints, side: Side, lpid: int, *, problem_state: bool = False) -> str:
    """Mint the token of the VM that has `lpid` at a side now; one that no VM has speaks for none."""
    url, key = _at(endpoints, side)
    incarnation = await incarnation_at(url, endpoints.observer_token, lpid)
    return mint_guest_token(key, lpid, incarnation, problem_state=problem_state)


def _at(endpoints: Endpoints, side: Side) -> tuple[str, str]:
    if side is Side.ULTRAVISOR:
        return endpoints.ultravisor_url, endpoints.ultravisor_guest_key
    return endpoints.hypervisor_url, endpoints.hypervisor_guest_key
