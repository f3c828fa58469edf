"""Bearer tokens of guests: minted from a key that only that door and the guests' side hold.

A guest has a different key for each door, so that the Hypervisor, which must know a normal VM's callers,
can never speak as an SVM to the Ultravisor. Other roles have one fixed secret each.

A token names an lpid and the incarnation that the VM with that lpid has at that door. Both sides give lpids
to other VMs later, and never an incarnation: so a token is good for one VM, until that one ends.
"""

import hashlib
import hmac

from pef_protocol.http import Caller, Role
from pef_protocol.identity import Incarnation
from pef_protocol.quantities import Lpid

PROBLEM_STATE = "problem"
KERNEL = "kernel"
NO_VM = "-"


def _mac(key: str, claim: str) -> str:
    return hmac.new(key.encode(), claim.encode(), hashlib.sha256).hexdigest()


def mint_guest_token(
    key: str, lpid: int, incarnation: Incarnation | None = None, *, problem_state: bool = False
) -> str:
    """Return the token by which VM `lpid` is known at the door whose guest key is `key`.

    `incarnation` is the one that this door says the VM has; None speaks for an lpid without a VM.
    """
    claim = f"guest.{lpid}.{PROBLEM_STATE if problem_state else KERNEL}.{incarnation or NO_VM}"
    return f"{claim}.{_mac(key, claim)}"


def read_guest_token(key: str, token: str) -> Caller | None:
    """Return the guest that `token` speaks for, or None where `key` did not mint it."""
    claim, _, mac = token.rpartition(".")
    if not hmac.compare_digest(_mac(key, claim).encode(), mac.encode()):
        return None
    kind, lpid, state, incarnation = claim.split(".", 3)
    return Caller(Role(kind), Lpid(int(lpid)), state == PROBLEM_STATE, Incarnation.parse(incarnation))
