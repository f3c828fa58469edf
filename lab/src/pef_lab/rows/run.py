"""Plays the rows of a pass: one verdict a row, and none stops another.

| a row | its verdict |
|---|---|
| finds what it expected, or the document is silent | pass |
| finds something else | fail |
| gets no answer of the protocol (`Unanswered`), or takes too long | harness error, with the cause |
| can't be set up on this subject (`NoScene`) | inconclusive, with the reason |
| raises anything else: a fault of ours | harness error that names it |
| can't be played on this subject | skipped, with the reason |

A subject that has gone must not hold up hundreds of rows, each until its patience ends: after a few rows in
a row without an answer it is asked whether it lives, and what rows may wait in vain is bounded for the whole
pass.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

import httpx

from pef_lab.failures import Unanswered
from pef_lab.rows.doors import CONNECTIONS, OBSERVER, Doors
from pef_lab.rows.row import ALONE, Finding, Level, Played, Row, Verdict
from pef_lab.rows.stage import Stage
from pef_lab.rows.subject import NoScene, Subject

PATIENCE: Final = 15.0
"""Seconds that a request may take, unless told otherwise: twice what an Ultravisor waits for a busy GFN."""
A_ROW: Final = 4
"""How often that patience a row may take in all."""
IN_VAIN: Final = 8
"""How often that patience all rows of a pass may wait without an answer."""
IN_A_ROW: Final = 3
"""Rows in a row without an answer after which the subject is asked whether it lives."""
ASKING: Final = 5.0
"""Seconds that a subject may take to say that it lives, or a scene to be struck after an error."""
LIVES: Final = "/livez"
LONGEST: Final = 400
"""Characters of what was seen that are kept."""

Tell: TypeAlias = Callable[[Played], None]
"""Is told of each row as soon as it has its verdict."""


def tell_nobody(_: Played) -> None:
    """Tell nobody."""


async def play(
    stage: Stage, rows: Sequence[Row], patience: float = PATIENCE, tell: Tell = tell_nobody
) -> list[Played]:
    """Play rows one after another, patient ones beside each other at the end; return them in their order."""
    reach = _Reach(stage, patience)
    turns = asyncio.Semaphore(CONNECTIONS)
    verdicts: dict[str, Played] = {}

    def keep(played: Played) -> None:
        verdicts[played.row.id] = played
        tell(played)

    async def beside(row: Row) -> None:
        async with turns:
            keep(reach.note(await _play(stage, row, patience)))

    patient = []
    for row in rows:
        if reason := why_skipped(row, stage.subject):
            keep(Played(row, Verdict.SKIPPED, cause=reason))
        elif reach.lost:
            keep(error_of(row, reach.lost))
        elif row.patient:
            patient.append(row)
        else:
            outcome = reach.note(await _play(stage, row, patience))
            if outcome.verdict is Verdict.ERROR:
                outcome = await _clear(stage, outcome)
                await reach.ask()
            keep(outcome)
    if reach.lost:
        for row in patient:
            keep(error_of(row, reach.lost))
    else:
        async with asyncio.TaskGroup() as group:
            for row in patient:
                group.create_task(beside(row))
    return [verdicts[row.id] for row in rows]


def error_of(row: Row, cause: str) -> Played:
    """Return a row that could not be played as a harness error."""
    return Played(row, Verdict.ERROR, cause=printable(cause))


def why_skipped(row: Row, subject: Subject) -> str:
    """Return why a row is not played on a subject; nothing where it is."""
    if subject in row.of:
        return ""
    if subject is Subject.PAIR:
        return ALONE
    return f"needs another subject: {', '.join(sorted(row.of))}"


@dataclass(slots=True)
class _Outcome:
    """A row with its verdict, and whether it had no answer."""

    played: Played
    unanswered: bool = False


async def _play(stage: Stage, row: Row, patience: float) -> _Outcome:
    """Play one row and judge it."""
    clock = asyncio.get_running_loop().time
    began = clock()
    limit = A_ROW * patience

    def outcome(verdict: Verdict, cause: str, *, unanswered: bool = False) -> _Outcome:
        seconds = clock() - began
        return _Outcome(Played(row, verdict, cause=printable(cause), seconds=seconds), unanswered)

    bound = asyncio.timeout(limit)
    try:
        async with bound:
            finding = await row.play(stage)
    except Exception as raised:  # noqa: BLE001 - whatever a row of ours raises is this row's error, no other's
        match first_of(raised):
            case NoScene() as missing:
                return outcome(Verdict.INCONCLUSIVE, str(missing))
            case Unanswered() as silence:
                return outcome(Verdict.ERROR, str(silence), unanswered=True)
            case TimeoutError() if bound.expired():
                return outcome(Verdict.ERROR, f"not done within {limit:g} s", unanswered=True)
            case fault:
                return outcome(Verdict.ERROR, f"a fault of this row: {type(fault).__name__}: {fault}")
    return _Outcome(Played(row, judged(row, finding), _shown(finding), seconds=clock() - began))


def first_of(raised: BaseException) -> BaseException:
    """Return what was raised; of several at once, in tasks beside each other, the first."""
    while isinstance(raised, BaseExceptionGroup):
        raised = raised.exceptions[0]
    return raised


def judged(row: Row, finding: Finding) -> Verdict:
    """Return the verdict on what was found: where the document is silent, nothing is judged."""
    return Verdict.PASS if finding.agrees or row.level is Level.EITHER else Verdict.FAIL


def _shown(finding: Finding) -> Finding:
    return replace(finding, expected=printable(finding.expected), observed=printable(finding.observed))


def printable(text: str) -> str:
    """Return what a subject said so that no terminal and no file takes harm: printable, and not too long."""
    short = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    return "".join(each if each.isprintable() else " " if each.isspace() else "�" for each in short)


async def _clear(stage: Stage, played: Played) -> Played:
    """Take all scenes away after an error: who knows what they are in now."""
    try:
        async with asyncio.timeout(ASKING):
            await stage.clear()
    except (Unanswered, TimeoutError):
        return played
    except Exception as fault:  # noqa: BLE001 - the same as of a row
        cause = f"{played.cause}; and its scene could not be struck: {type(fault).__name__}: {fault}"
        return replace(played, cause=printable(cause))
    return played


@dataclass(slots=True)
class _Reach:
    """Whether a subject can still be reached; `lost` says why not."""

    stage: Stage
    patience: float
    lost: str = ""
    _silent: int = 0
    _vain: float = field(default=0.0)

    def note(self, outcome: _Outcome) -> Played:
        """Note whether a row had its answers; return it."""
        self._silent = self._silent + 1 if outcome.unanswered else 0
        if outcome.unanswered:
            self._vain += outcome.played.seconds
            if self._vain > IN_VAIN * self.patience:
                self.lost = f"not played: rows before it waited {self._vain:.0f} s for answers in vain"
        return outcome.played

    async def ask(self) -> None:
        """Ask each side whether it lives, if that is in doubt."""
        if self.lost or self._silent < IN_A_ROW:
            return
        self._silent = 0
        for side in self.stage.sides:
            if reason := await why_dead(side):
                self.lost = f"not played: {IN_A_ROW} rows before it had no answer, nor has {LIVES} ({reason})"


async def why_dead(side: Doors) -> str:
    """Return why a side can't be said to live; nothing where it says so."""
    try:
        async with asyncio.timeout(ASKING):
            answer = await side.ask(OBSERVER, "GET", LIVES)
    except TimeoutError:
        return f"the {side.name} is silent for {ASKING:g} s"
    except Unanswered as silence:
        return str(silence)
    status = answer.status_code
    return "" if status == httpx.codes.OK else f"the {side.name}: HTTP status {status}"
