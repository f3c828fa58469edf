"""A recording as a list of entries, and the frame at each of them: the same shape as any other frame."""

import json
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any, Final

from pef_console.stage import Frame

ARROWS: Final = 40
PATH: Final = 30
VERDICTS: Final = 12
"""Verdicts of a frame: that of the entry itself, and the newest of those that were broken before."""
LONGEST: Final = 240
"""Characters of a text."""
MOST_OCTETS: Final = 10_000
NEXT: Final = {"actor": "recording", "action": "next", "gfn": None, "fault": None}
"""The one move of a recording."""
NOT_RECORDED: Final[Mapping[str, Any]] = {
    "hypervisor": "not recorded",
    "ultravisor": "not recorded",
    "marks": {"hypervisor": [], "ultravisor": []},
    "device_pages": [0, 0],
    "frames": [0, 0],
}
"""A VM of which a file has no states."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What was sent up to an entry."""

    ultracalls: int = 0
    hypercalls: int = 0
    gfns: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """One step of a recording. `arrows`, `calls` and `verdicts` are as a frame has them.

    `calls` are open after it; `cost` is the sum from the start on.
    """

    label: str
    outcome: str
    design: str = ""
    arrows: tuple[Mapping[str, Any], ...] = ()
    calls: tuple[Mapping[str, Any], ...] = ()
    verdicts: tuple[Mapping[str, Any], ...] = ()
    cost: Cost = Cost()


START: Final = Entry("start", "")


class Recording:
    """A file as entries: node 0 is the start, node n follows entry n. `content` is the file itself."""

    def __init__(self, title: str, entries: Sequence[Entry], content: str, mermaid: str = "") -> None:
        self.title = title
        self.entries = entries
        self.content = content
        self.mermaid = mermaid
        self._arrows = [
            {"node": node, **arrow} for node, each in enumerate(entries, 1) for arrow in each.arrows
        ]
        self._arrows_at = [0, *accumulate(len(each.arrows) for each in entries)]
        self._broken = [
            {**verdict, "node": node}
            for node, each in enumerate(entries, 1)
            for verdict in each.verdicts
            if not verdict["holds"]
        ]
        self._broken_nodes = [each["node"] for each in self._broken]

    def violated_after(self, node: int) -> int | None:
        """Return the next node, after this one, whose entry breaks something."""
        place = bisect_right(self._broken_nodes, node)
        return self._broken_nodes[place] if place < len(self._broken_nodes) else None

    def frame(self, node: int) -> Frame:
        """Return the frame at a node, at most 10 KB as JSON: older arrows and verdicts are left out first."""
        share, frame = ARROWS, self._frame(node, ARROWS)
        while octets_of(frame) > MOST_OCTETS and share > 1:
            share //= 2
            frame = self._frame(node, share)
        return frame

    def _frame(self, node: int, share: int) -> Frame:
        at = self.entries[node - 1] if node else START
        arrows = self._arrows_at[node]
        steps = min(share, PATH, node + 1)
        verdicts = self._verdicts(node, min(share, VERDICTS))
        following = self.entries[node] if node < len(self.entries) else None
        return {
            "node": node,
            "parent": node - 1 if node else None,
            "children": [] if following is None else [node + 1],
            "nodes": len(self.entries) + 1,
            "design": (at if node else following or at).design,
            "system": {"image": [], "plug": 0, "vcpus": 0},
            "vm": NOT_RECORDED,
            "gfns": [],
            "calls": list(at.calls),
            "arrows": self._arrows[max(arrows - share, 0) : arrows],
            "arrows_before": max(arrows - share, 0),
            "moves": []
            if following is None
            else [{"n": 1, **NEXT, "label": cut(following.label), "why_not": ""}],
            "moves_left_out": 0,
            "path": [self._path_step(each) for each in range(node + 1 - steps, node + 1)],
            "path_before": node + 1 - steps,
            "verdicts": verdicts,
            "cost": {**asdict(at.cost), "bytes": 0},
            "quiescent": not at.calls,
            "violated": bisect_right(self._broken_nodes, node) > 0,
            "ended": at.outcome,
            "stopped": "",
            "lesson": None,
        }

    def _path_step(self, node: int) -> dict[str, Any]:
        at = self.entries[node - 1] if node else START
        return {"node": node, "label": cut(at.label), "outcome": cut(at.outcome)}

    def _verdicts(self, node: int, most: int) -> list[Mapping[str, Any]]:
        """Return the verdicts of the entry; before them the newest that were broken earlier."""
        own = [
            {**each, "node": None if each["holds"] else node}
            for each in (self.entries[node - 1].verdicts if node else ())
        ]
        earlier = bisect_left(self._broken_nodes, node)
        room = max(most - len(own), 0)
        return [*self._broken[max(earlier - room, 0) : earlier], *own]


def cut(text: str) -> str:
    """Return a text, shortened where it is too long for a frame."""
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def octets_of(frame: Frame) -> int:
    """Return how long a frame is as JSON."""
    return len(json.dumps(frame, separators=(",", ":")))


def arrow(
    start: str,
    end: str,
    text: str,
    kind: str,
    *,
    call: int = 0,
    depth: int = 0,
    code: str | None = None,
    why: Mapping[str, str] | None = None,
) -> Mapping[str, Any]:
    """Return an arrow as a frame has it."""
    return {
        "call": call,
        "depth": depth,
        "from": start,
        "to": end,
        "text": cut(text),
        "kind": kind,
        "code": code,
        "why": why,
        "fault": None,
    }


def verdict(name: str, *, holds: bool, sentence: str) -> Mapping[str, Any]:
    """Return a verdict as a frame has it."""
    return {"invariant": cut(name), "holds": holds, "sentence": cut(sentence)}
