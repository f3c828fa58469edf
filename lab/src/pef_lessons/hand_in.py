"""The file that a student hands in: `pef-lesson-answer/1`, or a counterexample that a session exported.

Everything in it was written by somebody else. It is read with bounds, and nothing of it is believed: its
moves are made again.
"""

import json
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pef_explorer.actions.move import GO_ON, VM, Move
from pef_explorer.machines.faults import Fault
from pef_explorer.session.errors import NotPossible, SessionFull
from pef_explorer.session.session import Session
from pef_lab.failures import WrongInput
from pef_lab.replay.counterexample import BETWEEN_PHASES, Counterexample
from pef_lessons.all_lessons import LESSONS
from pef_lessons.lesson import MOST_MOVES, Answers, Lesson

FORMAT: Final = "pef-lesson-answer/1"
FAMILY: Final = "pef-lesson-answer/"
OF_A_SESSION: Final = "pef-counterexample/2"
MOST_BYTES: Final = 1 << 20
"""Bytes of a hand-in: the longest session has a tenth of that."""
SUSPENDED: Final = "suspended"

Word = Annotated[str, Field(max_length=80)]


class AnsweredMove(BaseModel):
    """A move as it stands in the file."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    actor: Word
    action: Word
    gfn: Annotated[int, Field(ge=0, lt=1 << 16)] | None = None
    fault: Word | None = None


class AnswerFile(BaseModel):
    """The content of a file: nothing in it is guessed or left out."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    format: Literal["pef-lesson-answer/1"]
    lesson: Word
    student: Word = ""
    moves: Annotated[tuple[AnsweredMove, ...], Field(max_length=MOST_MOVES)] = ()
    answers: Annotated[dict[Word, Annotated[str, Field(max_length=400)]], Field(max_length=20)] = {}


@dataclass(frozen=True, slots=True)
class HandIn:
    """A hand-in that could be read: the lesson, who made it, and what it has."""

    lesson: Lesson
    student: str
    moves: tuple[tuple[Move, str], ...]
    """Each move, and what a step of a counterexample file says that it leads to; empty in our own format."""
    answers: Answers = field(default_factory=dict)

    def session(self) -> Session:
        """Make the moves in a session of the lesson; raise WrongInput at one that is not possible."""
        session = self.lesson.session()
        session.goto(0)
        for number, (move, leads_to) in enumerate(self.moves, 1):
            try:
                session.move(move)
                while leads_to not in {"", BETWEEN_PHASES} and _stands(session):
                    session.move(Move(move.actor, GO_ON))
            except (NotPossible, SessionFull) as reason:
                raise WrongInput(f"move {number} is not possible in this lesson: {reason}") from None
        return session


def _stands(session: Session) -> bool:
    """Tell whether the UV_ESM of the last move stands between two phases: a file's step goes through."""
    return session.nodes[session.at].outcome == SUSPENDED


def answer_file(
    lesson: Lesson, session: Session | None = None, answers: Answers | None = None, student: str = ""
) -> dict[str, Any]:
    """Return the content of a hand-in: the path to the session's cursor, and answers."""
    moves = session.path_moves() if session is not None and lesson.by_moves else []
    given = answers or {}
    return {
        "format": FORMAT,
        "lesson": lesson.number,
        "student": student,
        "moves": [
            {
                "actor": move.actor,
                "action": move.action,
                "gfn": None if move.gfn == VM else move.gfn,
                "fault": move.fault.value if move.fault else None,
            }
            for move in moves
        ],
        "answers": {each.name: given.get(each.name, "") for each in lesson.questions},
    }


def read_hand_in(path: Path, lesson: str | None = None) -> HandIn:
    """Read a hand-in; raise WrongInput, with one line, where it can't be used.

    `lesson`: the number of the lesson that is graded. A counterexample file does not name one, so it is
    needed there; another file must be of that lesson.
    """
    content = _content(path)
    version = str(content.get("format", ""))
    if version == OF_A_SESSION:
        return _of_a_session(content, lesson)
    if not version.startswith(FAMILY):
        raise WrongInput(f"no hand-in: its format is neither {FORMAT} nor {OF_A_SESSION}")
    if version != FORMAT:
        raise WrongInput(f"of another version: {version!r:.60}, where {FORMAT} is read here")
    try:
        read = AnswerFile.model_validate(_tuples(content))
    except ValidationError as refusal:
        raise WrongInput(_reason(refusal)) from None
    if lesson is not None and read.lesson != lesson:
        raise WrongInput(f"of lesson {read.lesson!r:.20}, where lesson {lesson} is graded")
    moves = tuple((_move(each, number), "") for number, each in enumerate(read.moves, 1))
    return HandIn(lesson_of(read.lesson), read.student, moves, read.answers)


def lesson_of(number: str) -> Lesson:
    """Return a lesson; raise WrongInput, which says what there is, for a number that is none."""
    found = LESSONS.get(number)
    if found is None:
        raise WrongInput(f"there is no lesson {number!r:.20}; there are 1 to {len(LESSONS)}")
    return found


def _content(path: Path) -> Mapping[str, Any]:
    try:
        text = _text(path)
    except OSError as failure:
        raise WrongInput(failure.strerror or "not readable") from None
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise WrongInput("not a JSON file") from None
    if not isinstance(content, dict):
        raise WrongInput("not a JSON object")
    return content


def _text(path: Path) -> bytes:
    """Return the bytes of a file; what is no regular file is not opened, for it may have no end."""
    known = path.stat()
    if not stat.S_ISREG(known.st_mode):
        raise WrongInput("no file")
    if known.st_size > MOST_BYTES:
        raise WrongInput(f"too long: {known.st_size:,} bytes, where {MOST_BYTES:,} is the most")
    with path.open("rb") as opened:
        return opened.read(MOST_BYTES)


def _tuples(content: Mapping[str, Any]) -> dict[str, Any]:
    moves = content.get("moves", [])
    return {**content, "moves": tuple(moves) if isinstance(moves, list) else moves}


def _move(each: AnsweredMove, number: int) -> Move:
    if each.fault is not None and each.fault not in {*Fault}:
        raise WrongInput(f"move {number}: there is no fault {each.fault!r:.40}")
    fault = Fault(each.fault) if each.fault else None
    return Move(each.actor, each.action, VM if each.gfn is None else each.gfn, fault)


def _of_a_session(content: Mapping[str, Any], lesson: str | None) -> HandIn:
    """Return what a counterexample file has, if it is of the system of the lesson."""
    if lesson is None:
        raise WrongInput(f"{OF_A_SESSION} names no lesson: say which by --lesson")
    try:
        found = Counterexample.model_validate_json(json.dumps(content))
    except ValidationError as refusal:
        raise WrongInput(_reason(refusal)) from None
    graded = lesson_of(lesson)
    system = (found.design, tuple(found.system.image), found.system.plug, found.system.vcpus)
    plan = graded.plan
    if system != (plan.design, tuple(part.value for part in plan.image), plan.plug, plan.vcpus):
        raise WrongInput(f"of another system than lesson {lesson} has")
    if len(found.steps) > MOST_MOVES:
        raise WrongInput(f"too long: {len(found.steps)} steps, where {MOST_MOVES} is the most")
    moves = tuple(
        (
            Move(
                step.actor,
                step.action,
                VM if step.gfn is None else step.gfn,
                Fault(step.fault) if step.fault else None,
            ),
            step.leads_to,
        )
        for step in found.steps
    )
    return HandIn(graded, "", moves)


def _reason(refusal: ValidationError) -> str:
    first = refusal.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(step) for step in first["loc"])
    why = " ".join(first["msg"].removeprefix("Value error, ").split())
    return f"{where + ': ' if where else ''}{why}"[:200]
