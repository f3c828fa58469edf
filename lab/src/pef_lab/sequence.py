"""A recorded run as a sequence of nested calls: in two columns for a terminal, or as a Mermaid diagram.

    ULTRAVISOR                                HYPERVISOR
    guest 1 > UV_ESM kernel_base=0x400000
                                                > H_SVM_INIT_START
        > UV_REGISTER_MEM_SLOT slotid=0  U_SUCCESS
                                                < H_SVM_INIT_START  H_SUCCESS
    < UV_ESM  U_SUCCESS

A call stands in the column of the side that answers it, indented by how deep it is nested. One that nests
others has a line where it begins and one where it is answered. The same holds for a guest's load or store and
for a VMM's operation, under which the calls hang that it needs.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby
from typing import Final

from pef_lab.sizes import counted, show_seconds
from pef_lab.trace import Recorded
from pef_protocol.events import Event, EventPhase, Side

INDENT: Final = 2
SHOWN_ALIKE: Final = 3
"""Calls of one kind in a row that are written out; the rest are counted."""
RUNS_SHOWN: Final = 2
"""Runs of a call that are written out; the rest are counted."""
HEXADECIMAL: Final = frozenset({"kernel_base", "fdt", "start_gpa", "size", "gfn", "dw0", "dw1", "gpa"})
ENTITIES: Final = str.maketrans({"#": "#35;", ";": "#59;"})
UNTOLD: Final = frozenset({"lpid", "order"})


class Turn(StrEnum):
    """What a line of a sequence shows of a call: its begin, its answer, both, or calls left out."""

    BEGINS = "begins"
    ANSWERED = "answered"
    WHOLE = "whole"
    SKIPPED = "skipped"


@dataclass(slots=True)
class Node:
    """A call, access or operation with the calls that were made while it was open, in order.

    `event` is its end or, where it was not answered yet, its begin. `began` is the number of its begin.
    """

    event: Event
    began: int
    nested: list["Node"] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a sequence; `skipped` counts calls that were left out."""

    turn: Turn
    event: Event
    depth: int
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """What one step of a run did: what nothing else in the trace caused, each with its tree."""

    run: str
    title: str
    roots: tuple[Node, ...]


def steps_of(events: Sequence[Recorded]) -> list[Step]:
    """Put recorded events into trees, by step, in the order in which the steps came.

    What was answered stands in the step of its end.
    """
    began = {each.event.call_id: each.event.number for each in events if each.event.phase is EventPhase.BEGIN}
    ended = {each.event.call_id for each in events if each.event.phase is EventPhase.END}
    shown = [each for each in events if each.event.phase is EventPhase.END or each.event.call_id not in ended]
    nodes = {
        each.event.call_id: Node(each.event, began.get(each.event.call_id, each.event.number))
        for each in shown
    }
    steps: list[tuple[str, str, list[Node]]] = []
    for (run, title), together in groupby(shown, key=lambda each: (each.run, each.step)):
        roots: list[Node] = []
        for each in together:
            node = nodes[each.event.call_id]
            parent = nodes.get(each.event.parent_id)
            (roots if parent is None or parent is node else parent.nested).append(node)
        steps.append((run, title, roots))
    for node in nodes.values():
        node.nested.sort(key=lambda each: each.began)
    return [
        Step(run, title, tuple(sorted(roots, key=lambda node: (node.event.side, node.began))))
        for run, title, roots in steps
    ]


def lines_of(nodes: Sequence[Node], depth: int = 0) -> Iterator[Line]:
    """Yield the lines of calls; of many alike in a row, the first few and how many more there are."""
    alike = 0
    for place, node in enumerate(nodes):
        before = nodes[place - 1].event if place else None
        same = before is not None and (before.name, before.code) == (node.event.name, node.event.code)
        alike = alike + 1 if same and not node.nested else 0
        if alike < SHOWN_ALIKE:
            yield from _lines_of(node, depth)
        following = nodes[place + 1].event if place + 1 < len(nodes) else None
        last = following is None or (following.name, following.code) != (node.event.name, node.event.code)
        if alike >= SHOWN_ALIKE and (last or nodes[place + 1].nested):
            yield Line(Turn.SKIPPED, node.event, depth, alike - SHOWN_ALIKE + 1)


def _lines_of(node: Node, depth: int) -> Iterator[Line]:
    if not node.nested:
        yield Line(Turn.WHOLE, node.event, depth)
        return
    yield Line(Turn.BEGINS, node.event, depth)
    yield from lines_of(node.nested, depth + 1)
    yield Line(Turn.ANSWERED, node.event, depth)


def arguments_of(event: Event) -> str:
    """Return the arguments of a call that tell something, and how many pages it carries."""
    reported = []
    for name, value in event.arguments.items():
        if name in UNTOLD or (name == "flags" and not value):
            continue
        shown = f"{value:#x}" if name in HEXADECIMAL and isinstance(value, int) else str(value)
        reported.append(_runs(shown) if name == "runs" else f"{name}={shown}")
    if "runs" in event.arguments:
        reported.append(f"({counted(event.pages, 'page')})")
    return " ".join(reported)


def _runs(text: str) -> str:
    """Return a lone run as its guest address, several as `gpa+pages`; real addresses are left out."""
    runs = [run.split("+")[-2:] for run in text.split(" ")]
    if any(len(run) != 2 for run in runs):  # noqa: PLR2004 - so many runs that the event only counts them
        return text
    if len(runs) == 1:
        return runs[0][0]
    shown = [f"{gpa}+{int(count, 16):,}" for gpa, count in runs[:RUNS_SHOWN]]
    more = len(runs) - RUNS_SHOWN
    return " ".join(shown) + (f" … {counted(more, 'run')} more" if more > 0 else "")


def words_of(line: Line) -> tuple[str, str, str]:
    """Return what a line says: the call, its arguments, its code (empty where it is not answered yet)."""
    event = line.event
    if line.turn is Turn.SKIPPED:
        return f"… {line.skipped:,} more {event.name}", "", answer_of(event)
    caller = f"{event.caller} " if not line.depth else ""
    if line.turn is Turn.ANSWERED:
        return f"◂ {event.name}", "", f"{answer_of(event)} {show_seconds(event.seconds)}"
    code = answer_of(event) if line.turn is Turn.WHOLE else ""
    return f"{caller}▸ {event.name}", arguments_of(event), code


def answer_of(event: Event) -> str:
    """Return the code of an event and, in brackets, the check that refused."""
    return f"{event.code} ({event.check})" if event.check else event.code


def mermaid(steps: Iterable[Step]) -> Iterator[str]:
    """Yield the lines of a Mermaid sequence diagram."""
    yield "sequenceDiagram"
    yield "    participant W as guest and VMM"
    yield "    participant U as Ultravisor"
    yield "    participant H as Hypervisor"
    for step in steps:
        yield f"    Note over W,H: {plain(f'{step.run}: {step.title}' if step.run else step.title)}"
        for line in lines_of(step.roots):
            yield from _arrows(line)


def _arrows(line: Line) -> Iterator[str]:
    event = line.event
    answers = "U" if event.side is Side.ULTRAVISOR else "H"
    other = "H" if answers == "U" else "U"
    asks = "W" if event.caller.startswith(("guest", "vmm")) else other
    if line.turn is Turn.SKIPPED:
        yield f"    Note over U,H: {plain(words_of(line)[0])}"
        return
    if line.turn is not Turn.ANSWERED:
        yield f"    {asks}->>+{answers}: {plain(f'{event.name} {arguments_of(event)}'.rstrip())}"
    if line.turn is not Turn.BEGINS:
        yield f"    {answers}-->>-{asks}: {plain(answer_of(event) or 'no answer')}"


def plain(text: str) -> str:
    """Return `text` with the signs that end or alter a Mermaid message as its entities."""
    return text.translate(ENTITIES)
