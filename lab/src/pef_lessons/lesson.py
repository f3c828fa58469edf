"""What a lesson is, and the verdict on a session in which somebody tried it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from pef_explorer.actions.move import Move
from pef_explorer.plan import Part, Plan
from pef_explorer.session.session import Session
from pef_lessons.history import History, history_of
from pef_lessons.script import make_moves
from pef_protocol.designs import Design

MOST_MOVES: Final = 400
"""Moves that a session of a lesson may have; the longest solution has fewer than 100."""
UNUSED: Final = Plan(Design.TRACKED, (Part.BROUGHT, Part.UNMIGRATED), plug=0)
"""The system of a lesson that is not done by moves."""

Answers: TypeAlias = Mapping[str, str]
Judge: TypeAlias = Callable[[History, Answers], str]
"""Says in one sentence what is wrong with the answers; empty where they are right."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question that is graded. `choices`: the answers that there are; empty: a number or a name."""

    name: str
    text: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Milestone:
    """A part of the goal: `reached` tells whether a history has it, `missing` says what to do otherwise."""

    label: str
    missing: str
    reached: Callable[[History], bool]


@dataclass(frozen=True, slots=True)
class Progress:
    """A part of the goal, and whether it is done."""

    label: str
    done: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the goal is reached, and one sentence: what it means, or what is missing."""

    passed: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class Solution:
    """What reaches the goal: lines of a script, and answers."""

    script: tuple[str, ...] = ()
    answers: Answers = field(default_factory=dict)


def anything(_: Move) -> str:
    """Allow every move."""
    return ""


def nothing_wrong(_: History, __: Answers) -> str:
    """Judge no answers."""
    return ""


@dataclass(frozen=True, slots=True)
class Lesson:
    """One lesson.

    `name` is that of its page. `opening`: lines of a script that are made before the person begins. `rule`
    says why a move is not for this lesson, or nothing. `by_moves` is false where nothing is done in a
    session. `meaning`: the sentence of a verdict that passed.
    """

    number: str
    name: str
    title: str
    goal: str
    text: str
    hints: tuple[str, ...]
    meaning: str
    solution: Solution
    milestones: tuple[Milestone, ...] = ()
    questions: tuple[Question, ...] = ()
    judge: Judge = nothing_wrong
    plan: Plan = UNUSED
    opening: tuple[str, ...] = ()
    rule: Callable[[Move], str] = anything
    by_moves: bool = True

    def session(self) -> Session:
        """Return a session at the start of the lesson: the opening is made."""
        session = Session(self.plan, limit=MOST_MOVES, allowed=self.rule)
        session.lesson = self.number
        make_moves(session, self.opening)
        return session

    def check(self, session: Session, answers: Answers | None = None) -> Verdict:
        """Return the verdict on the path to the session's cursor, and on answers; nothing is changed."""
        history = history_of(session)
        for milestone in self.milestones:
            if not milestone.reached(history):
                return Verdict(False, milestone.missing)
        given = answers or {}
        for question in self.questions:
            if not given.get(question.name, "").strip():
                return Verdict(False, f"The question {question.name!r} is not answered yet: {question.text}")
            if question.choices and given[question.name] not in question.choices:
                choices = ", ".join(question.choices)
                return Verdict(False, f"The answer to {question.name!r} is none of: {choices}.")
        wrong = self.judge(history, given)
        return Verdict(not wrong, wrong or self.meaning)

    def progress(self, session: Session, answers: Answers | None = None) -> tuple[Progress, ...]:
        """Return each part of the goal, and whether it is done."""
        history, given = history_of(session), answers or {}
        done = [Progress(each.label, each.reached(history)) for each in self.milestones]
        answered = [
            Progress(f"answered: {each.name}", bool(given.get(each.name, "").strip()))
            for each in self.questions
        ]
        return (*done, *answered)
