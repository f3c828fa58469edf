"""A recorded run of `pef designs --trace`: the begin and the end of each call, nested as they were."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from pef_console.recorded.entries import Cost, Entry, Recording, arrow
from pef_lab.sequence import Node, arguments_of, mermaid, steps_of
from pef_lab.trace import parse
from pef_protocol.calls import CALLS
from pef_protocol.events import Event, EventKind, Side

OTHER: Final = {Side.ULTRAVISOR: Side.HYPERVISOR, Side.HYPERVISOR: Side.ULTRAVISOR}
ACTORS: Final = ("guest", "vmm")
"""What the name of a caller begins with that is no visor."""


def recording_of(text: str, name: str) -> Recording:
    """Return a trace as a recording; raise WrongInput, with the line, where it is none."""
    header, events = parse(text, name)
    steps = steps_of(events)
    walk = Walk()
    entries = [
        entry for step in steps for node in step.roots for entry in walk.through(step.run, step.title, node)
    ]
    return Recording(header.title or "a recorded run", entries, text, "\n".join(mermaid(steps)) + "\n")


@dataclass(slots=True)
class Walk:
    """Goes through the calls of a trace in their order, and keeps what is open and what was sent."""

    roots: int = 0
    open: list[Event] = field(default_factory=list)
    cost: Cost = field(default_factory=Cost)

    def through(self, run: str, title: str, node: Node) -> Iterator[Entry]:
        """Yield the begin of a call, all that is nested in it, and its end."""
        event = node.event
        if not self.open:
            self.roots += 1
        asks, answers = caller_of(event), event.side.value
        words = f"{event.name} {arguments_of(event)}".rstrip()
        depth = len(self.open)
        self._count(event)
        self.open.append(event)
        begun = arrow(asks, answers, words, _kind(event, "ask"), call=self.roots, depth=depth)
        yield self._entry(run, f"{title}: {asks} asks {event.name}", f"asks {event.name}", begun)
        for each in node.nested:
            yield from self.through(run, title, each)
        self.open.pop()
        code = event.code or None
        ended = arrow(
            answers,
            asks,
            event.name,
            _kind(event, "answer"),
            call=self.roots,
            depth=depth,
            code=code,
            why=why_of(event),
        )
        outcome = f"answers {event.code}" if code else "no answer was recorded"
        yield self._entry(run, f"{title}: {answers} answers {event.name}", outcome, ended)

    def _entry(self, run: str, label: str, outcome: str, shown: Any) -> Entry:
        return Entry(label, outcome, run, (shown,), self._calls(), cost=self.cost)

    def _calls(self) -> tuple[dict[str, Any], ...]:
        """Return the one call that is under way, with those nested in it."""
        if not self.open:
            return ()
        outermost, innermost = self.open[0], self.open[-1]
        return (
            {
                "actor": caller_of(outermost),
                "action": outermost.name,
                "gfn": None,
                "stack": [{"side": each.side.value, "call": each.name} for each in self.open],
                "waits_for": f"{innermost.side.value} answers {innermost.name}",
                "held": None,
            },
        )

    def _count(self, event: Event) -> None:
        if event.kind is EventKind.CALL:
            ultra = event.side is Side.ULTRAVISOR
            self.cost = Cost(
                self.cost.ultracalls + ultra, self.cost.hypercalls + (not ultra), self.cost.gfns + event.pages
            )


def caller_of(event: Event) -> str:
    """Return who asked: a guest, the VMM, or the other side."""
    return event.caller if event.caller.startswith(ACTORS) else OTHER[event.side].value


def why_of(event: Event) -> dict[str, str] | None:
    """Return the check that refused a call, what it refuses, and its source."""
    call = CALLS.get(event.name)
    if call is None or not event.check:
        return None
    sentence = next(
        (f"It refuses {each.refuses}." for each in call.check_order if each.name == event.check), ""
    )
    return {"check": event.check, "sentence": sentence or event.detail, "source": call.source}


def _kind(event: Event, kind: str) -> str:
    return "access" if event.kind is EventKind.ACCESS else kind
