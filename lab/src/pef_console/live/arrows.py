"""What happened, as arrows of a sequence: from the events of both sides' traces, in one order.

An event says nothing of a page's bytes. Numbers order the events of one side. Those of both are ordered by
what nests what: a call begins after the one that it is nested in, and ends before that one ends.
"""

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pef_console.live.wire import ACTION_OF, HeldMessage
from pef_protocol.calls import CALLS
from pef_protocol.events import EventKind, EventPhase, Side

KEPT: Final = 400
"""Arrows that are kept; a frame shows fewer."""
MERGED: Final = 1000
"""Events that are put in order across both sides at once; of more, each side's stay together."""


@dataclass(frozen=True, slots=True)
class Arrow:
    """One arrow of a sequence. `number` counts the calls of a VM's life, `call_id` is the id of the call."""

    node: int
    number: int
    depth: int
    source: str
    target: str
    text: str
    kind: str
    call_id: str = ""
    code: str = ""
    check: str = ""
    detail: str = ""
    fault: str | None = None

    def shown(self) -> dict[str, Any]:
        """Return it as a frame has it; a code that a check gave says why."""
        return {
            "node": self.node,
            "call": self.number,
            "depth": self.depth,
            "from": self.source,
            "to": self.target,
            "text": self.text,
            "kind": self.kind,
            "code": self.code or None,
            "why": why_of(self.text, self.check, self.detail) if self.check or self.detail else None,
            "fault": self.fault,
        }


@dataclass(frozen=True, slots=True)
class OpenEvent:
    """Something that has begun and not ended."""

    call_id: str
    parent_id: str
    side: Side
    name: str


class Arrows:
    """The arrows of one VM's life, and what is open of it now."""

    def __init__(self, lpid: int) -> None:
        self._lpid = lpid
        self._arrows: deque[Arrow] = deque(maxlen=KEPT)
        self._numbers: dict[str, int] = {}
        self._open: dict[tuple[str, Side], OpenEvent] = {}
        self.total = 0

    def take(self, node: int, events: Mapping[Side, Sequence[dict[str, Any]]]) -> None:
        """Add what both sides recorded since the last time, as of `node`."""
        for event in in_order(events):
            if event["arguments"].get("lpid") != self._lpid and event["caller"] != f"guest {self._lpid}":
                continue
            side, name, call_id = Side(event["side"]), str(event["name"]), str(event["call_id"])
            begins = event["phase"] == EventPhase.BEGIN
            caller = str(event["caller"]).split(" ")[0]
            if begins:
                self._open[call_id, side] = OpenEvent(call_id, str(event["parent_id"]), side, name)
            else:
                self._open.pop((call_id, side), None)
            ends = (caller, side.value) if begins else (side.value, caller)
            kind = ("ask" if begins else "answer") if event["kind"] == EventKind.CALL else "access"
            self._add(
                Arrow(
                    node,
                    self._number(call_id),
                    int(event["depth"]),
                    *ends,
                    name,
                    kind,
                    call_id,
                    str(event["code"]),
                    str(event["check"]),
                    str(event["detail"]),
                )
            )

    def befell(self, node: int, message: HeldMessage, fault: str) -> None:
        """Add what befell a message on the wire."""
        number = self._number(message.call_id) if message.call_id else 0
        text, ends = f"{message.message}: {ACTION_OF[fault]}", (message.sender.value, message.receiver.value)
        self._add(Arrow(node, number, 0, *ends, text, "note", message.call_id, fault=fault))

    def last(self, number: int) -> list[Arrow]:
        """Return the last arrows."""
        return [*self._arrows][-number:]

    @property
    def any_open(self) -> bool:
        """Tell whether something has begun and not ended."""
        return bool(self._open)

    def stack(self, root: str) -> list[OpenEvent]:
        """Return what is open of a call and of what it nests, the outermost first."""
        found = [each for each in self._open.values() if each.call_id == root]
        while children := [
            each
            for each in self._open.values()
            if found and each.parent_id == found[-1].call_id and each not in found
        ]:
            found.append(children[-1])
        return found

    def _number(self, call_id: str) -> int:
        return self._numbers.setdefault(call_id, len(self._numbers) + 1)

    def _add(self, arrow: Arrow) -> None:
        self._arrows.append(arrow)
        self.total += 1


def why_of(call: str, check: str, detail: str = "") -> dict[str, str]:
    """Return which check of a call refused, what it refuses, and the source; of a later code the detail."""
    known = CALLS.get(call)
    sentences = {each.name: each.refuses for each in known.check_order} if known else {}
    sentence = sentences.get(check, detail)
    return {"check": check, "sentence": sentence, "source": known.source if known else ""}


def in_order(events: Mapping[Side, Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the events of both sides in one order: a side's own by number, nested ones inside."""
    if sum(map(len, events.values())) > MERGED:
        return [event for each in events.values() for event in each]
    queues = {side: deque(each) for side, each in events.items()}
    found: list[dict[str, Any]] = []
    while any(queues.values()):
        waiting = [event for queue in queues.values() for event in queue] if all(queues.values()) else []
        heads = [queue for queue in queues.values() if queue]
        ready = next((queue for queue in heads if not _must_wait(queue[0], waiting)), heads[0])
        found.append(ready.popleft())
    return found


def _must_wait(event: dict[str, Any], waiting: Collection[dict[str, Any]]) -> bool:
    """Tell whether an event comes after one of those that wait, for one is nested in the other's call."""
    if event["phase"] == EventPhase.BEGIN:
        parent = event["parent_id"]
        return any(each["call_id"] == parent and each["phase"] == EventPhase.BEGIN for each in waiting)
    return any(each["parent_id"] == event["call_id"] and each is not event for each in waiting)
