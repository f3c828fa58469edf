"""Bearer tokens of guests: minted from a key that only that door and the guests' side hold.

A guest has a different key for each door, so that the Hypervisor, which must know a normal VM's callers,
can never speak as an SVM to the Ultravisor. Other roles have one fixed secret each.
"""

import hashlib
import hmac

from pef_protocol.quantities import Lpid
from pef_protocol.wire import Caller, Role

PROBLEM_STATE = "problem"
KERNEL = "kernel"


def _mac(key: str, claim: str) -> str:
    return hmac.new(key.encode(), claim.encode(), hashlib.sha256).hexdigest()


def mint_guest_token(key: str, lpid: int, *, problem_state: bool = False) -> str:
    """Return the token by which VM `lpid` is known at the door whose guest key is `key`."""
    claim = f"guest.{lpid}.{PROBLEM_STATE if problem_state else KERNEL}"
    return f"{claim}.{_mac(key, claim)}"


def read_guest_token(key: str, token: str) -> Caller | None:
    """Return the guest that `token` speaks for, or None where `key` did not mint it."""
    claim, _, mac = token.rpartition(".")
    if not hmac.compare_digest(_mac(key, claim).encode(), mac.encode()):
        return None
    kind, lpid, state = claim.split(".")
    return Caller(Role(kind), Lpid(int(lpid)), state == PROBLEM_STATE)
