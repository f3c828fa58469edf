"""Lesson 2: calls nest: predict which calls UV_ESM causes."""

from typing import Final

from pef_explorer.actions.names import ActionName
from pef_explorer.plan import Part, Plan
from pef_lessons.history import History
from pef_lessons.lesson import Answers, Lesson, Milestone, Question, Solution
from pef_protocol.designs import Design

ASKS: Final = "asks "
ANSWERS: Final = "answers "
TEXT: Final = """
## The question

The guest makes one ultracall, UV_ESM: "make me secure". How many calls does this one call cause, and who calls whom?

This VM has three GFNs. The Ultravisor needs GFN 0, which holds the kernel. It wants to share GFN 1 with the host. It needs
nothing of GFN 2.

## Predict

Answer the four questions below *before* you begin. A prediction that turns out wrong teaches you more than no prediction.

## Do

1. Choose `guest 0: UV_ESM`.
2. Press `j` again and again until UV_ESM ends. Most steps deliver one message. In the sequence, a call that is made
   *inside* another one is drawn deeper.
3. Compare each step with your prediction, and correct your answers where the sequence shows something else.

## What it means

Neither side can make a VM secure alone. The Ultravisor asks the Hypervisor for what it needs (H_SVM_...), and the
Hypervisor answers only after it has made a call of its own to the Ultravisor (UV_...). So a call is answered *while the
caller waits inside another call*. Each side must be able to serve a call of the other side at a moment when it waits for
that side.

This is why the state of a page can't be one bit. Between the question and the answer both sides must remember that
something is under way. You see these marks beside the states, for example REQUESTED.
"""


def asked(history: History) -> list[str]:
    """Return the calls that the UV_ESM of guest 0 caused, in order."""
    return [
        each.outcome.removeprefix(ASKS)
        for each in history.made
        if each.move.actor == "guest 0" and each.outcome.startswith(ASKS)
    ]


def deepest(history: History) -> int:
    """Return how many calls were open at once, UV_ESM counted."""
    depth = most = 1
    for each in history.made:
        depth += each.outcome.startswith(ASKS) - each.outcome.startswith(ANSWERS)
        most = max(most, depth)
    return most


def inside_the_first(history: History) -> str:
    """Return the call that was made before the first one was answered."""
    calls = iter([each.outcome for each in history.made if each.outcome.startswith((ASKS, ANSWERS))])
    next(calls, "")
    following = next(calls, "")
    return following.removeprefix(ASKS) if following.startswith(ASKS) else "none"


def _judge(history: History, answers: Answers) -> str:
    seen = {
        "first": asked(history)[0],
        "inside": inside_the_first(history),
        "deepest": str(deepest(history)),
        "asked-for": str(asked(history).count("H_SVM_PAGE_IN")),
    }
    for name, observed in seen.items():
        if answers[name].strip() != observed:
            return f"Your session shows something else for {name!r} than {answers[name].strip()[:40]!r}: step through UV_ESM again."
    return ""


LESSON: Final = Lesson(
    number="2",
    name="calls-nest",
    title="Calls nest",
    goal="Predict which calls UV_ESM causes. Then step through UV_ESM to its end and compare.",
    text=TEXT,
    hints=(
        "Each line of the path that says `asks ...` is a call that is on its way. Each line that says `answers ...` ends one.",
        "Count the calls that have been made and not yet answered, at every step. Begin with 1 for UV_ESM itself.",
        "The first call is H_SVM_INIT_START, and inside it the Hypervisor makes UV_REGISTER_MEM_SLOT. For each GFN that it"
        " wants the Ultravisor makes H_SVM_PAGE_IN, with UV_PAGE_IN inside: three calls are open then.",
    ),
    meaning="Three calls are open at the deepest point, and the Ultravisor asks for the pages that it needs, not for all.",
    plan=Plan(Design.TRACKED, (Part.BROUGHT, Part.SHARED, Part.UNMIGRATED), plug=0),
    opening=("vmm: host write 0 ...",),
    milestones=(
        Milestone(
            "UV_ESM has ended with U_SUCCESS",
            "UV_ESM has not ended with U_SUCCESS yet: choose it, and let it go on to its end.",
            lambda history: bool(history.actions(ActionName.ESM.value, word="U_SUCCESS")),
        ),
    ),
    questions=(
        Question(
            "first",
            "Which call does the Ultravisor make first?",
            ("H_SVM_INIT_START", "H_SVM_PAGE_IN", "H_SVM_INIT_DONE", "UV_REGISTER_MEM_SLOT"),
        ),
        Question(
            "inside",
            "Which call does the Hypervisor make before it answers that first call?",
            ("UV_PAGE_IN", "UV_REGISTER_MEM_SLOT", "UV_WRITE_PATE", "none"),
        ),
        Question("deepest", "How many calls are open at the same time at most? Count UV_ESM itself."),
        Question(
            "asked-for", "The VM has three GFNs. How many times does the Ultravisor make H_SVM_PAGE_IN?"
        ),
    ),
    judge=_judge,
    solution=Solution(
        ("guest 0: UV_ESM ...",),
        {"first": "H_SVM_INIT_START", "inside": "UV_REGISTER_MEM_SLOT", "deepest": "3", "asked-for": "2"},
    ),
)
