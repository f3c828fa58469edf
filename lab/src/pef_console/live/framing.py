"""A frame of the live stage, bounded: what is left out is counted."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from pef_console.live.arrows import Arrows
from pef_console.live.choices import LiveChoice
from pef_console.live.columns import JOINT, Columns, StateRun, name_of
from pef_console.live.keyring import Keyring
from pef_console.live.observing import Observation, VmAtSide
from pef_console.live.tree import MoveTree
from pef_console.live.verdicts import Verdicts
from pef_console.live.vm import LiveVm
from pef_console.live.wire import HeldMessage
from pef_lab.replay.counterexample import ENDS
from pef_lab.watch import Counters
from pef_protocol.events import Side
from pef_protocol.states import HvGfnState, UvGfnState

LARGEST: Final = 10_000
"""Bytes of a frame as JSON, with some hundred for what is added around it."""
AROUND: Final = 200
MOST_RUNS: Final = 40
MOST_ARROWS: Final = 40
MOST_PATH: Final = 30
MOST_MOVES: Final = 60
MOST_SLOTS: Final = 8
SHORTENED: Final = (
    ("arrows", "arrows_before", 0, 20),
    ("path", "path_before", 0, 12),
    ("moves", "moves_left_out", -1, 24),
    ("gfns", "gfns_left_out", -1, 16),
    ("arrows", "arrows_before", 0, 6),
    ("moves", "moves_left_out", -1, 6),
    ("path", "path_before", 0, 2),
    ("gfns", "gfns_left_out", -1, 6),
)
"""What a frame that is too large leaves out: of which list, what counts it, from which end, how many stay."""


@dataclass(slots=True)
class Shown:
    """All that a frame is made of. `words`: what guest and host found in a GFN that nothing changed since."""

    design: str
    pair: str
    holds: bool
    lpid: int
    memory: int
    tree: MoveTree
    keyring: Keyring
    seen: Observation
    arrows: Arrows
    verdicts: Verdicts
    vm: LiveVm | None
    choices: Sequence[LiveChoice]
    words: Mapping[int, tuple[str | None, str | None]]
    started: Counters
    quiescent: bool
    ended: str = ""
    replayed: Mapping[str, Any] | None = None
    held: Sequence[HeldMessage] = field(default_factory=tuple)


def framed(shown: Shown) -> dict[str, Any]:
    """Return a frame of at most `LARGEST` bytes as JSON."""
    tree, seen = shown.tree, shown.seen
    rows, left_out = gfn_rows(seen.columns, shown.words, shown.vm)
    path, arrows = tree.path(), shown.arrows.last(MOST_ARROWS)
    verdicts = shown.verdicts.shown()
    frame: dict[str, Any] = {
        "node": tree.at,
        "parent": tree.node.parent,
        "children": tree.node.children[-MOST_MOVES:],
        "nodes": len(tree.nodes),
        "design": shown.design,
        "system": _system(shown),
        "vm": _vm(seen.sides),
        "gfns": rows,
        "gfns_left_out": left_out,
        "calls": [] if shown.vm is None else open_calls(shown.vm, shown.arrows),
        "arrows": [*(arrow.shown() for arrow in arrows), *_held_asks(shown)],
        "arrows_before": shown.arrows.total - len(arrows),
        "moves": [each.shown(n) for n, each in enumerate(shown.choices[:MOST_MOVES], start=1)],
        "moves_left_out": max(0, len(shown.choices) - MOST_MOVES),
        "path": [_step(node.n, node.label, node.outcome) for node in path[-MOST_PATH:]],
        "path_before": max(0, len(path) - MOST_PATH),
        "verdicts": verdicts,
        "cost": _cost(seen.counters.since(shown.started)),
        "quiescent": shown.quiescent,
        "violated": not all(each["holds"] for each in verdicts),
        "ended": tree.node.outcome if tree.node.outcome.startswith(ENDS) else "",
        "stopped": shown.ended,
        "lesson": None,
        "keyring": shown.keyring.shown(),
        "map": {
            "gfns": seen.columns.gfns,
            "slots": [[extent.first, extent.count] for extent in seen.columns.extents[:MOST_SLOTS]],
            "generation": seen.generation,
        },
        "replayed": None if shown.replayed is None else dict(shown.replayed),
    }
    return bounded(frame)


def bounded(frame: dict[str, Any]) -> dict[str, Any]:
    """Leave rows out of a frame until it fits, as `SHORTENED` says."""
    for name, counter, at, fewest in SHORTENED:
        while len(frame[name]) > fewest and size_of(frame) > LARGEST - AROUND:
            frame[name].pop(at)
            frame[counter] += 1
    return frame


def size_of(frame: Mapping[str, Any]) -> int:
    """Return the bytes of a frame as JSON."""
    return len(json.dumps(frame, separators=(",", ":")))


def gfn_rows(
    columns: Columns, words: Mapping[int, tuple[str | None, str | None]], vm: LiveVm | None
) -> tuple[list[dict[str, Any]], int]:
    """Return the runs of a VM as a frame has them, and how many are left out.

    A GFN that the session acts on, or has looked at, has a row of its own.
    """
    named = sorted({*words, *(vm.shown_gfns() if vm else ())})
    runs, left_out = columns.runs(MOST_RUNS, named)
    rows = [row for run in runs for row in _cut(run, named)]
    return [_gfn_row(run, words.get(run.first, (None, None)), vm) for run in rows], left_out


def _cut(run: StateRun, gfns: Sequence[int]) -> list[StateRun]:
    """Return a run in parts, so that each of `gfns` in it has one of its own."""
    inside = [gfn for gfn in gfns if run.first <= gfn < run.first + run.count]
    edges = sorted({run.first, run.first + run.count, *inside, *(gfn + 1 for gfn in inside)})
    return [
        StateRun(first, end - first, run.hypervisor, run.ultravisor, run.joint)
        for first, end in pairwise(edges)
    ]


def _gfn_row(run: StateRun, words: tuple[str | None, str | None], vm: LiveVm | None) -> dict[str, Any]:
    guest, host = words if run.count == 1 else (None, None)
    return {
        "first": run.first,
        "count": run.count,
        "part": (vm.role_of(run.first) if vm and run.count == 1 else "") or "memory",
        "hypervisor": name_of(HvGfnState, run.hypervisor),
        "ultravisor": name_of(UvGfnState, run.ultravisor),
        "joint": JOINT[run.joint],
        "hv_marks": [],
        "uv_marks": [],
        "guest_page": guest,
        "host_page": host,
    }


def open_calls(vm: LiveVm, arrows: Arrows) -> list[dict[str, Any]]:
    """Return what is under way: what was begun, what it has called, and what it waits for."""
    found = []
    for actor in vm.open_actors:
        action, gfn = vm.actions[actor.name]
        stack = arrows.stack(vm.call_ids[actor.name])
        held = vm.traffic.held_of(actor)
        inside = stack[-1].side.value if stack else "service"
        waits_for = (
            f"{held.receiver}: {_what(held)} held on the wire" if held else f"it is inside the {inside}"
        )
        found.append(
            {
                "actor": actor.name,
                "action": action,
                "gfn": gfn,
                "stack": [{"side": each.side.value, "call": each.name} for each in stack],
                "waits_for": waits_for,
                "held": held.shown() if held else None,
            }
        )
    return found


def _what(held: HeldMessage) -> str:
    return {"ask": f"{held.message} is", "answer": f"the answer {held.code} is", "bus": "pages are"}[
        held.kind
    ]


def _held_asks(shown: Shown) -> list[dict[str, Any]]:
    """Return the requests that are held as arrows: no side has recorded them yet."""
    return [
        {
            "node": shown.tree.at,
            "call": 0,
            "depth": 0,
            "from": each.sender.value,
            "to": each.receiver.value,
            "text": each.message if each.kind == "ask" else f"{each.message} pages",
            "kind": "ask" if each.kind == "ask" else "access",
            "code": None,
            "why": None,
            "fault": None,
            "held": each.id,
        }
        for each in shown.held
        if each.kind != "answer"
    ]


def _step(n: int, label: str, outcome: str) -> dict[str, Any]:
    return {"node": n, "label": label, **({"outcome": outcome} if n else {})}


def _system(shown: Shown) -> dict[str, Any]:
    pair = {"pair": shown.pair, "holds": shown.holds}
    return {"memory": shown.memory, **pair, "lpid": shown.lpid, "vcpus": 1, "plug": 1}


def _vm(sides: Mapping[Side, VmAtSide]) -> dict[str, Any]:
    hypervisor, ultravisor = sides[Side.HYPERVISOR], sides[Side.ULTRAVISOR]
    return {
        "hypervisor": hypervisor.state,
        "ultravisor": ultravisor.state,
        "marks": {"hypervisor": [], "ultravisor": []},
        "device_pages": [*hypervisor.pool],
        "frames": [*ultravisor.pool],
    }


def _cost(counted: Counters) -> dict[str, int]:
    return {
        "ultracalls": counted.ultracalls,
        "hypercalls": counted.hypercalls,
        "gfns": counted.gfns_carried,
        "bytes": counted.bytes_moved,
    }
