"""Which check of a call gave a code, from the call's own check order."""

from typing import Final

from pef_explorer.session.frame import Why
from pef_protocol.calls import CALLS

FURTHER: Final = "All checks had passed; the call failed in what it does."


def why(name: str, *, succeeded: bool, check: str, detail: str) -> Why | None:
    """Return why the call `name` was answered as it was; None for a success, or where nothing is known.

    Where no check refused it, the code is one that the call gives after all checks have passed. What is no
    call of the protocol has no check order: its `detail` is all that is known.
    """
    if succeeded and not check:
        return None
    call = CALLS.get(name)
    if call is None:
        return Why(check="", sentence=detail, source="") if detail else None
    for each in call.check_order:
        if each.name == check:
            return Why(check=check, sentence=f"It refuses {each.refuses}.", source=call.source)
    return Why(check="", sentence=detail or FURTHER, source=call.source)
