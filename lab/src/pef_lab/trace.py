"""Recorded runs: the calls that both sides answered, merged into one file of JSON lines.

First the header, then one call a line: the fields of `CallEvent`, with the run and the step in which the lab
saw it. The two sides count their own events and share no clock; what belongs together is told by `call_id`
and `parent_id`, and what came first by the step.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pef_lab.failures import WrongInput
from pef_lab.watch import Watch
from pef_protocol.events import TRACE_VERSION, CallEvent, Side, TraceHeader


@dataclass(frozen=True, slots=True)
class Recorded:
    """A call of a recorded run, with the run and the step it belongs to."""

    run: str
    step: str
    event: CallEvent


class Recording:
    """Collects the calls of a run, step by step. `wanted` False: it collects nothing and costs nothing."""

    def __init__(self, *, wanted: bool = True) -> None:
        self.calls: list[Recorded] = []
        self._wanted = wanted
        self._run = ""
        self._watch: Watch | None = None

    def follow(self, run: str, watch: Watch) -> None:
        """Record what `watch` sees from now on, as `run`."""
        self._run, self._watch = run, watch

    async def note(self, step: str) -> list[Recorded]:
        """Take in all calls answered since the last note as those of `step`; return them."""
        if not self._wanted or self._watch is None:
            return []
        fresh = [Recorded(self._run, step, event_of(each)) for each in await self._watch.fresh_events()]
        self.calls += fresh
        return fresh


def event_of(shown: dict[str, Any]) -> CallEvent:
    """Return the event in a JSON object; raise KeyError, TypeError or ValueError where it is none."""
    known = {part.name: shown[part.name] for part in fields(CallEvent)}
    return CallEvent(**{**known, "side": Side(known["side"])})


def write(path: Path, title: str, calls: Iterable[Recorded]) -> None:
    """Write a trace file."""
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps(asdict(TraceHeader(title=title))) + "\n")
        for call in calls:
            line = {"run": call.run, "step": call.step, **asdict(call.event)}
            file.write(json.dumps(line) + "\n")


def read(path: Path) -> tuple[TraceHeader, list[Recorded]]:
    """Read a trace file; raise WrongInput, with the line, where it is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as failure:
        raise WrongInput(f"{path}: {getattr(failure, 'strerror', None) or 'not a text file'}") from None
    lines = _objects(path, text)
    _, first = next(lines, (1, {}))
    if first.get("pef_trace") != TRACE_VERSION:
        raise WrongInput(f"{path}, line 1: not a trace of version {TRACE_VERSION}")
    calls = []
    for number, line in lines:
        try:
            calls.append(Recorded(str(line.get("run", "")), str(line.get("step", "")), event_of(line)))
        except (KeyError, TypeError, ValueError) as fault:
            raise WrongInput(f"{path}, line {number}: not a call ({fault})") from None
    return TraceHeader(title=str(first.get("title", ""))), calls


def _objects(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise WrongInput(f"{path}, line {number}: not a JSON object")
        yield number, found
