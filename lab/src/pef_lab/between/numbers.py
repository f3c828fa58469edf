"""Numbers of slots as a go-between has to send them on: what it answered itself used up none at the service.

A slot's numbers leave no gap. So whoever answers a call in a service's place has to number the later calls of
that slot anew.
"""

from collections.abc import Mapping
from dataclasses import replace

from pef_protocol.identity import CallId
from pef_protocol.wire import SLOT


class Numbers:
    """What each call that was sent on was numbered."""

    def __init__(self) -> None:
        self._sent: dict[tuple[str, int, int], dict[int, int]] = {}

    def of(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers of a call as it is sent on; a repeat is numbered as it was before."""
        text = next((text for name, text in headers.items() if name.lower() == SLOT), "")
        call = CallId.parse(text)
        if call is None:
            return dict(headers)
        sent = self._sent.setdefault((call.session, call.depth, call.slot), {})
        if call.number > max(sent, default=0):
            sent[call.number] = len(sent) + 1
        number = sent.get(call.number, call.number)
        others = {name: text for name, text in headers.items() if name.lower() != SLOT}
        return {**others, SLOT: str(replace(call, number=number))}
