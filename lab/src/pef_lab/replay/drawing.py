"""The steps of a counterexample as a sequence: a table in a terminal, or a Mermaid diagram.

An arrow stands where a message is delivered, not where it is sent: one that others overtook has a note where
it set out. Which visor a guest's load or store goes to is told by what came before, as the processor would.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from rich.table import Table
from rich.text import Text

from pef_lab.replay.counterexample import (
    BAD_IMAGE,
    BETWEEN_PHASES,
    ENDS,
    GO_ON,
    MOVES,
    NOTHING,
    TWO_GFNS,
    Counterexample,
    ScheduleStep,
)
from pef_lab.sequence import plain

LETTERS: Final = {"guest 0": "G0", "guest 1": "G1", "vmm": "V", "memory": "M"}
NAMES: Final = {
    "G0": "guest 0",
    "G1": "guest 1",
    "V": "VMM",
    "M": "host memory management",
    "U": "Ultravisor",
    "H": "Hypervisor",
}
OTHER: Final = {"U": "H", "H": "U"}
TO_ULTRAVISOR: Final = frozenset({"share", "unshare", "unshare all", "UV_ESM", BAD_IMAGE}) | TWO_GFNS
RESETS: Final = frozenset({"reset", "reboot"})
INDENT: Final = "  "
STOPS: Final = {
    "waits": "waits",
    "works": "works",
    MOVES: "pages are about to move",
    BETWEEN_PHASES: "UV_ESM stands between two phases",
}
"""What is said of an actor that has stopped where no message is on its way."""


@dataclass(frozen=True, slots=True)
class Arrow:
    """One line of a drawing: a message from `start` to `end`, or a note where both are the same."""

    number: int
    actor: str
    depth: int
    start: str
    end: str
    words: str
    kind: str = "asks"
    """`asks`, `answers`, `lost` or `note`."""

    @property
    def sentence(self) -> str:
        """Say it in a line."""
        if self.kind == "note":
            return self.words
        sign = {"asks": "▸", "answers": "◂", "lost": "✘"}[self.kind]
        return f"{NAMES[self.start]} {sign} {NAMES[self.end]}: {self.words}"


@dataclass(slots=True)
class _Open:
    """An action under way: what it stopped at, and which visors are in it, outermost first."""

    letter: str
    visors: list[str]
    stop: str
    since: int
    action: str


@dataclass(slots=True)
class _Fixture:
    """What is known while the steps are gone through."""

    found: Counterexample
    opens: dict[str, _Open] = field(default_factory=dict)
    is_secure: bool = False

    def begun(self, number: int, step: ScheduleStep) -> Arrow:
        visor = "U" if step.action in TO_ULTRAVISOR else "H"
        if step.action in {"load", "store"} and self.is_secure:
            visor = "U"
        letter = LETTERS[step.actor]
        self.opens[step.actor] = _Open(letter, [visor], step.leads_to, number, step.action)
        where = "" if step.gfn is None else f" {step.gfn}"
        return Arrow(number, step.actor, 0, letter, visor, f"{step.action}{where}")

    def gone_on(self, number: int, step: ScheduleStep, call: _Open) -> Iterator[Arrow]:
        """Yield what letting an actor go on means: what it had stopped at happens."""
        here, depth = call.visors[-1], len(call.visors)
        kind, _, what = call.stop.partition(" ")
        if call.stop == MOVES:
            yield Arrow(number, step.actor, depth, here, here, "pages move over the bus", "note")
        elif kind == "asks":
            words = f"{what} ({step.fault})" if step.fault else what
            shown = "lost" if step.fault in {"lost", "refused", "busy"} else "asks"
            yield Arrow(number, step.actor, depth, here, OTHER[here], words, shown)
            call.visors.append(OTHER[here])
        elif kind == "answers":
            call.visors.pop()
            shown = "lost" if what == NOTHING else "answers"
            yield Arrow(number, step.actor, depth - 1, here, OTHER[here], what, shown)

    def stopped(self, number: int, step: ScheduleStep, call: _Open) -> Iterator[Arrow]:
        """Yield what is to be said of where an actor came to a stop."""
        here, depth = call.visors[-1], len(call.visors)
        if step.leads_to.startswith(ENDS):
            words = step.leads_to.removeprefix(ENDS)
            yield Arrow(number, step.actor, 0, call.visors[0], call.letter, words, "answers")
            if call.action.startswith("UV_ESM") and words == "U_SUCCESS":
                self.is_secure = True
            elif call.action in RESETS and words == "OK":
                self.is_secure = False
            return
        following = self.found.steps[number : number + 1]
        if following and following[0].actor != step.actor:
            stop = STOPS.get(step.leads_to)
            reported = stop or f"{step.leads_to.partition(' ')[2]} is on its way"
            yield Arrow(number, step.actor, depth, here, here, f"{step.actor}: {reported}", "note")
        elif step.leads_to == "waits":
            yield Arrow(number, step.actor, depth, here, here, f"{step.actor}: waits", "note")


def arrows_of(found: Counterexample) -> Iterator[Arrow]:
    """Yield the lines of a counterexample, and the violation where it comes."""
    fixture = _Fixture(found)
    if not found.violated_after:
        yield _violation(found)
    for number, step in enumerate(found.steps, start=1):
        if step.action == GO_ON:
            yield from fixture.gone_on(number, step, fixture.opens[step.actor])
        else:
            yield fixture.begun(number, step)
        call = fixture.opens[step.actor]
        call.stop = step.leads_to
        yield from fixture.stopped(number, step, call)
        if number == found.violated_after:
            yield _violation(found)


def _violation(found: Counterexample) -> Arrow:
    return Arrow(found.violated_after, "", 0, "", "", f"✘ {found.invariant}: {found.sentence}", "note")


def row(gfn: int | str, states: tuple[str, str], observe: tuple[str, str] | None) -> str:
    """Say what both tables, and both looks, are of one GFN."""
    read = f"; in the end guest reads {observe[0]}, host {observe[1]}" if observe else ""
    return f"GFN {gfn}: Hypervisor {states[0]}, Ultravisor {states[1]}{read}"


def tables_of(found: Counterexample) -> list[str]:
    """Say what both tables, and both looks, are of each GFN."""
    observations = {gfn: (observe.guest, observe.host) for gfn, observe in found.observations.items()}
    return [row(gfn, states, observations.get(gfn)) for gfn, states in found.tables.items()]


def table(found: Counterexample) -> Table:
    """Return the steps as a table for a terminal."""
    drawn = Table(box=None, show_header=True, header_style="bold", pad_edge=False)
    for name in ("step", "actor", "what happens"):
        last_column = name == "what happens"
        drawn.add_column(name, justify="right" if name == "step" else "left", no_wrap=not last_column)
    last = 0
    for arrow in arrows_of(found):
        number = "" if arrow.number == last or not arrow.actor else str(arrow.number)
        last = arrow.number if arrow.actor else last
        style = "" if arrow.actor else "bold red"
        reported = Text(INDENT * arrow.depth + arrow.sentence, style)
        drawn.add_row(number, arrow.actor if number else "", reported)
    return drawn


def mermaid(found: Counterexample) -> Iterator[str]:
    """Yield the lines of a Mermaid sequence diagram."""
    yield "sequenceDiagram"
    acting = {LETTERS[step.actor] for step in found.steps}
    present = [letter for letter in NAMES if letter in acting or letter in OTHER]
    for letter in present:
        yield f"    participant {letter} as {NAMES[letter]}"
    everybody = f"{present[0]},{present[-1]}"
    for arrow in arrows_of(found):
        yield f"    {_message(arrow, everybody)}"
    for line in tables_of(found):
        yield f"    Note over {everybody}: {plain(line)}"


def _message(arrow: Arrow, everybody: str) -> str:
    words = plain(arrow.words)
    if arrow.kind == "note":
        return f"Note over {arrow.start or everybody}: {words}"
    sign = {"asks": "->>", "answers": "-->>", "lost": "-x"}[arrow.kind]
    return f"{arrow.start}{sign}{arrow.end}: {words}"
