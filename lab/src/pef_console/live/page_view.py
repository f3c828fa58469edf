"""One page as the guest and as the host find it, each by a request of that role's own.

Trust: what the guest finds in a secure page is shown as the guest's view alone, which only a console with the
guest's token has. It is in no frame and in no log.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import numpy as np

from pef_console.live.columns import Columns, name_of
from pef_console.live.keyring import Keyring
from pef_lab.endpoint import requests_named
from pef_lab.failures import Refusal, Unanswered
from pef_lab.guest import Guest, World
from pef_lab.replay.stage import TOKEN_AT
from pef_lab.replay.words import OTHER, TOKEN_BYTES, ZERO
from pef_lab.vmm import Vmm
from pef_protocol.events import Side
from pef_protocol.http import Role
from pef_protocol.quantities import Lpid, gpa_of
from pef_protocol.states import HvGfnState, UvGfnState

SHOWN: Final = 512
"""Bytes that are shown of a page, from `TOKEN_AT` on: what the session writes stands first."""
WITHIN: Final = 10.0
"""Seconds that a request may take."""
CHANGES_SHOWN: Final = 8

CIPHERTEXT: Final = "ciphertext"
NONE: Final = "none"


async def guest_view(
    keyring: Keyring, guest: Guest | None, gfn: int, call_id: str, word_of: Callable[[bytes], str]
) -> dict[str, Any]:
    """Return what the guest's own load finds."""
    if guest is None:
        return _view(Role.GUEST, "", b"", NONE, keyring.why_not(Role.GUEST))
    at = Side.ULTRAVISOR if guest.world is World.SECURE else Side.HYPERVISOR
    return await _seen(Role.GUEST, at, call_id, lambda: guest.load(gpa_of(gfn) + TOKEN_AT, SHOWN), word_of)


async def host_view(
    keyring: Keyring, vmm: Vmm | None, lpid: int, gfn: int, call_id: str, word_of: Callable[[bytes], str]
) -> dict[str, Any]:
    """Return what the host's own read finds; it may change the VM."""
    if vmm is None:
        return _view(Role.VMM, "", b"", NONE, keyring.why_not(Role.VMM))
    return await _seen(
        Role.VMM,
        Side.HYPERVISOR,
        call_id,
        lambda: vmm.read(Lpid(lpid), gpa_of(gfn) + TOKEN_AT, SHOWN),
        word_of,
    )


def word_for(seen: bytes) -> str:
    """Return the word for bytes of which nobody knows who wrote them."""
    return OTHER if any(seen[:TOKEN_BYTES]) else ZERO


def changes(before: Columns, after: Columns) -> list[str]:
    """Return, in a sentence each, what became of GFNs between two observations; at most a few."""
    if before.extents != after.extents:
        return ["the memory slots of the VM have changed"]
    differ = (before.hypervisor != after.hypervisor) | (before.ultravisor != after.ultravisor)
    found = []
    for place in np.flatnonzero(differ)[:CHANGES_SHOWN].tolist():
        states = (
            (HvGfnState, before.hypervisor[place], after.hypervisor[place]),
            (UvGfnState, before.ultravisor[place], after.ultravisor[place]),
        )
        own, theirs = (_change(name_of(kind, int(old)), name_of(kind, int(new))) for kind, old, new in states)
        found.append(f"GFN {before.gfn_at(place)}: Hypervisor {own}, Ultravisor {theirs}")
    more = int(np.count_nonzero(differ)) - len(found)
    return [*found, f"and {more} more GFNs"] if more else found


def _change(before: str, after: str) -> str:
    return after if before == after else f"{before} -> {after}"


async def _seen(
    role: Role,
    at: Side,
    call_id: str,
    request: Callable[[], Awaitable[bytes]],
    word_of: Callable[[bytes], str],
) -> dict[str, Any]:
    try:
        async with asyncio.timeout(WITHIN):
            with requests_named(call_id):
                seen = await request()
    except Refusal as refusal:
        return _view(role, at, b"", "refused", refusal.detail or refusal.code)
    except Unanswered as failure:
        return _view(role, at, b"", NONE, str(failure))
    except TimeoutError:
        return _view(
            role, at, b"", NONE, f"no answer within {WITHIN:g} s: a message that it needs may be held"
        )
    return _view(role, at, seen, word_of(seen[:TOKEN_BYTES]), "")


def _view(role: Role, at: str, seen: bytes, words: str, why: str) -> dict[str, Any]:
    return {
        "by": role.value,
        "at": str(at),
        "offset": TOKEN_AT,
        "bytes_hex": seen.hex(),
        "words": words,
        "why": why,
    }
