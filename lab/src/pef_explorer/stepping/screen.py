"""A frame as text: both tables side by side, the calls as they nest, what can be done, and the verdicts."""

from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from pef_explorer.session.frame import Arrow, Frame, GfnRun, ShownMove

ARROWS: Final = 14
"""Arrows that are shown, the last ones."""
INDENT: Final = "  "
SIGNS: Final = {"agrees": "=", "in flight": "~", "differs": "✘"}
STYLES: Final = {"agrees": "", "in flight": "yellow", "differs": "bold red"}
HELP: Final = """\
j  go forward: along what was made, or let the first open call go on    k  go back
1, 2, ...  make the move of that number                                 g  go to a node, by its number
e  go to the last move that was made from here                          v  go to the next violation
r  run until nothing is open                                            m  show what is not possible, and why
f  fork: the same moves on another design                               u  undo the fork: the session before
w  write the moves to here as a counterexample file, for pef replay     ?  this help    q  quit"""


def screen_of(frame: Frame, *, all_moves: bool = False, message: str = "") -> RenderableType:
    """Return a frame as text; `all_moves`: with what is not possible, each with its reason."""
    parts: list[RenderableType] = [Rule(Text(_title(frame), "bold"), align="left", style="cyan")]
    parts += [_tables(frame), Text(_vm(frame)), *_calls(frame)]
    parts += [Text("What has happened", "bold"), *_arrows(frame), *_path(frame)]
    parts += [Text("What can happen now", "bold"), *_moves(frame.moves, all_moves=all_moves)]
    parts += [*_verdicts(frame), Text(_cost(frame), "dim")]
    if frame.stopped:
        parts.append(Text(frame.stopped, "yellow"))
    if message:
        parts.append(Text(message, "bold yellow"))
    return Group(*parts)


def _title(frame: Frame) -> str:
    lesson = f"lesson {frame.lesson}, " if frame.lesson else ""
    state = "nothing is open" if frame.quiescent else "calls are open"
    return f"{lesson}design {frame.design}, node {frame.node} of {frame.nodes - 1}; {state}"


def _tables(frame: Frame) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("GFN", "part", "Hypervisor", "", "Ultravisor", "the guest finds", "normal memory has"):
        table.add_column(name)
    for gfn in frame.gfns:
        where = str(gfn.first) if gfn.count == 1 else f"{gfn.first}-{gfn.first + gfn.count - 1}"
        joint = Text(SIGNS[gfn.joint], STYLES[gfn.joint])
        table.add_row(
            where,
            gfn.part,
            _state(gfn.hypervisor, gfn.hv_marks, gfn),
            joint,
            _state(gfn.ultravisor, gfn.uv_marks, gfn),
            gfn.guest_page,
            gfn.host_page,
        )
    return table


def _state(state: str, marks: Sequence[str], gfn: GfnRun) -> Text:
    shown = Text(state, STYLES[gfn.joint])
    return shown.append(f" ({', '.join(marks)})", "dim") if marks else shown


def _vm(frame: Frame) -> str:
    vm = frame.vm
    hypervisor = ", ".join((vm.hypervisor, *vm.marks.hypervisor))
    ultravisor = ", ".join((vm.ultravisor, *vm.marks.ultravisor))
    pages = f"device pages {vm.device_pages[0]} of {vm.device_pages[1]}"
    frames = f"frames {vm.frames[0]} of {vm.frames[1]}"
    return f"The VM: Hypervisor {hypervisor}; {pages}. Ultravisor {ultravisor}; {frames}."


def _calls(frame: Frame) -> Iterator[Text]:
    for call in frame.calls:
        nested = " > ".join(f"{each.call} ({each.side})" for each in call.stack)
        yield Text(f"Open: {call.actor}: {nested}; {call.waits_for}", "cyan")


def _arrows(frame: Frame) -> Iterator[Text]:
    shown = frame.arrows[-ARROWS:]
    left = frame.arrows_before + len(frame.arrows) - len(shown)
    if left:
        yield Text(f"  ... {left} before", "dim")
    for arrow in shown:
        yield Text(f"{arrow.node:>4} {INDENT * arrow.depth}{sentence_of(arrow)}", _style(arrow, frame))
    if not frame.arrows:
        yield Text("  nothing yet", "dim")


def sentence_of(arrow: Arrow) -> str:
    """Return an arrow as a sentence, with the reason of its code; an answer points left, to who asked."""
    fault = f" ({arrow.fault})" if arrow.fault else ""
    why = arrow.why
    check = f"check {why.check}: " if why and why.check else ""
    reason = f"  [{check}{why.sentence}{' ' + why.source if why.source else ''}]" if why else ""
    if arrow.start == arrow.end:
        return f"{arrow.start}: {arrow.text}"
    way = f"{arrow.start} ▸ {arrow.end}" if arrow.kind == "ask" else f"{arrow.end} ◂ {arrow.start}"
    return f"{way}: {arrow.text}{fault}{reason}"


def _style(arrow: Arrow, frame: Frame) -> str:
    return "" if arrow.node == frame.node else "dim"


def _path(frame: Frame) -> Iterator[Text]:
    last = frame.path[-1]
    if last.outcome:
        yield Text(f"The last move, {last.label}, led to: {last.outcome}")
    if frame.children:
        yield Text(f"From here on was made: {', '.join(map(str, frame.children))}", "dim")


def _moves(moves: Sequence[ShownMove], *, all_moves: bool) -> Iterator[RenderableType]:
    possible = [move for move in moves if not move.why_not]
    table = Table.grid(padding=(0, 3))
    width = 3
    for start in range(0, len(possible), width):
        table.add_row(*(Text(f"{move.n:>3} {move.label}") for move in possible[start : start + width]))
    yield table if possible else Text("  nothing: go back")
    if all_moves:
        yield from (Text(f"    {each.label}: {each.why_not}", "dim") for each in moves if each.why_not)


def _verdicts(frame: Frame) -> Iterator[Text]:
    broken = [verdict for verdict in frame.verdicts if not verdict.holds]
    for verdict in broken:
        sentence = f"{verdict.invariant}, since node {verdict.node}: {verdict.sentence}"
        yield Text(f"BROKEN {sentence}", "bold red")
    unjudged = sum(verdict.holds and bool(verdict.sentence) for verdict in frame.verdicts)
    holding = len(frame.verdicts) - len(broken) - unjudged
    rest = f"; {unjudged} not judged after a message that went wrong" if unjudged else ""
    yield Text(f"{holding} invariants hold on the way here{rest}.", "" if broken else "green")


def _cost(frame: Frame) -> str:
    cost = frame.cost
    return (
        f"So far {cost.ultracalls} ultracalls, {cost.hypercalls} hypercalls, {cost.gfns} GFNs named in them,"
        f" {cost.bytes:,} bytes over the memory bus.   j k 1.. f ? q"
    )
