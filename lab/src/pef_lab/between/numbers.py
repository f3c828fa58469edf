"""Numbers of slots as a go-between has to send them on: what it answered itself used up none at the service.

A slot's numbers leave no gap. So whoever answers a call in a service's place has to number the later calls of
that slot anew; and whoever comes between two that have spoken before learns from their refusals how far apart
they are. A message that is refused for its number does nothing.
"""

from collections.abc import Mapping
from dataclasses import replace

from pef_protocol.http import SLOT
from pef_protocol.identity import CallId


class Numbers:
    """What each call that was sent on was numbered."""

    def __init__(self) -> None:
        self._sent: dict[tuple[str, int, int], dict[int, int]] = {}

    def of(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers of a call as it is sent on; a repeat is numbered as it was before."""
        if (call := _call_in(headers)) is None:
            return dict(headers)
        sent = self._sent.setdefault((call.session, call.depth, call.slot), {})
        last = max(sent, default=0)
        if call.number > last:
            sent[call.number] = sent[last] + 1 if sent else call.number
        return _with(headers, replace(call, number=sent.get(call.number, call.number)))

    def lower(self, headers: Mapping[str, str]) -> dict[str, str] | None:
        """Return the same with the number before, for one that left a gap; None where there is none."""
        if (call := _call_in(headers)) is None:
            return None
        sent = self._sent[call.session, call.depth, call.slot]
        if sent.get(call.number, 1) == 1:
            return None
        sent[call.number] -= 1
        return _with(headers, replace(call, number=sent[call.number]))


def _call_in(headers: Mapping[str, str]) -> CallId | None:
    return CallId.parse(next((text for name, text in headers.items() if name.lower() == SLOT), ""))


def _with(headers: Mapping[str, str], call: CallId) -> dict[str, str]:
    return {name: text for name, text in headers.items() if name.lower() != SLOT} | {SLOT: str(call)}
