"""How a call ended, in one word."""

from typing import Any, Final

from pef_explorer.actions.oracle import ZERO
from pef_explorer.machines.wire import NotDone
from pef_hypervisor.checks import Refused
from pef_hypervisor.outcome import Errno, Outcome
from pef_kit.core.life import Ended
from pef_protocol.calls import Reply
from pef_ultravisor.access import AccessFailure

ENDED: Final = "ended"


def word_for(outcome: Any, may: frozenset[bytes]) -> str:
    """Return how a call ended, in the words of a schedule; `may` is what a load may find."""
    if isinstance(outcome, Reply):
        return outcome.code.name
    if isinstance(outcome, Outcome):
        return outcome.errno.name
    if isinstance(outcome, bytes | memoryview):
        value = bytes(outcome)
        if value == ZERO:
            return "zero"
        return "as written" if value in may else "other"
    if isinstance(outcome, Ended | NotDone):
        return ENDED
    if outcome is None:
        return "resolved"
    if isinstance(outcome, Refused | AccessFailure):
        return "refused"
    raise outcome


def succeeded(word: str) -> bool:
    """Tell whether a call that ended with `word` did what was asked."""
    return word in {"U_SUCCESS", "OK", "resolved", "as written", "zero", "other"}


def is_success(outcome: Any) -> bool:
    """Tell whether an operation that returned or raised `outcome` did what was asked."""
    if isinstance(outcome, Reply):
        return outcome.code.succeeded
    if isinstance(outcome, Outcome):
        return outcome.errno is Errno.OK
    return outcome is None or isinstance(outcome, bytes | bytearray | memoryview)
