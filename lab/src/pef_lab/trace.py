"""Recorded runs: the events of both sides, merged into one file of JSON lines.

First the header, then one event per line: the fields of `Event`, with the run and the step in which the lab
saw it. The two sides count their own events and share no clock; `call_id` and `parent_id` tell what belongs
together, and the step tells what came first.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pef_lab.failures import WrongInput
from pef_lab.output import write_file
from pef_lab.watch import Watch
from pef_protocol.events import TRACE_VERSION, Event, EventKind, EventPhase, Side, TraceHeader


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event of a recorded run, with the run and the step it belongs to."""

    run: str
    step: str
    event: Event


class Recording:
    """Collects the events of a run, step by step. `wanted` False: it collects nothing and costs nothing."""

    def __init__(self, *, wanted: bool = True) -> None:
        self.events: list[Recorded] = []
        self._wanted = wanted
        self._run = ""
        self._watch: Watch | None = None

    def follow(self, run: str, watch: Watch) -> None:
        """Record what `watch` sees from now on, as `run`."""
        self._run, self._watch = run, watch

    async def note(self, step: str) -> list[Recorded]:
        """Take in all events since the last note as those of `step`; return them."""
        if not self._wanted or self._watch is None:
            return []
        fresh = [Recorded(self._run, step, event_of(each)) for each in await self._watch.fresh_events()]
        self.events += fresh
        return fresh


def event_of(shown: dict[str, Any]) -> Event:
    """Return the event in a JSON object; raise KeyError or ValueError where it is none."""
    known = {part.name: shown[part.name] for part in fields(Event)}
    known |= {
        "side": Side(known["side"]),
        "kind": EventKind(known["kind"]),
        "phase": EventPhase(known["phase"]),
    }
    return Event(**known)


def write(path: Path, title: str, events: Iterable[Recorded]) -> None:
    """Write a trace file."""
    lines = ({"run": each.run, "step": each.step, **asdict(each.event)} for each in events)
    write_file(path, (json.dumps(line) + "\n" for line in (asdict(TraceHeader(title=title)), *lines)))


def read(path: Path) -> tuple[TraceHeader, list[Recorded]]:
    """Read a trace file; raise WrongInput, with the line, where it is none, or is of another version."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as failure:
        raise WrongInput(f"{path}: {getattr(failure, 'strerror', None) or 'not a text file'}") from None
    return parse(text, str(path))


def parse(text: str, name: str) -> tuple[TraceHeader, list[Recorded]]:
    """Return what the text of a trace file says; raise WrongInput, with the line, as `read` does."""
    lines = _objects(name, text)
    _, first = next(lines, (1, {}))
    version = first.get("pef_trace")
    if version is None:
        raise WrongInput(f"{name}, line 1: not a trace")
    if version != TRACE_VERSION:
        raise WrongInput(
            f"{name}: a trace of version {version}, which can't be read: this reads version {TRACE_VERSION}"
        )
    events = []
    for number, line in lines:
        try:
            events.append(Recorded(str(line.get("run", "")), str(line.get("step", "")), event_of(line)))
        except (KeyError, TypeError, ValueError) as fault:
            raise WrongInput(f"{name}, line {number}: not an event ({fault})") from None
    return TraceHeader(title=str(first.get("title", ""))), events


def _objects(name: str, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise WrongInput(f"{name}, line {number}: not a JSON object")
        yield number, found
