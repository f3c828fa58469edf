"""Lesson 8: why four states, and why two can do: break `pushed`, and make the same moves on two other designs."""

from typing import Final

from pef_explorer.plan import Part, Plan
from pef_explorer.session.errors import NotPossible
from pef_explorer.session.session import Session
from pef_lessons.history import History
from pef_lessons.lesson import Answers, Lesson, Milestone, Question, Solution
from pef_protocol.designs import Design, DesignName

TEXT: Final = """
## The question

`tracked` keeps four states per GFN in the Hypervisor: normal, secure, paged out, shared. In 2020 a reviewer asked: would
two not do, *secure or not*? At H_SVM_INIT_DONE the Hypervisor would send every page that it does not hold as secure, and
the Ultravisor, which knows which pages are shared, would refuse those. This is the design `pushed`.

## Predict

With two states, "paged out" and "normal" look the same to the Hypervisor. So:

- A page was paged out: its ciphertext stands in normal memory. Then UV_ESM *fails*, and the VM goes on as a normal VM.
  What does the Hypervisor do with that page?
- How would you repair it, without a third state?

## Do

1. Under `pushed`, break an invariant, and end where no call is open. The text above names the situation: a page goes out
   *during* UV_ESM, and UV_ESM fails. Choose `guest 0: UV_ESM with a bad image`: the image will not be what the owner
   promised, so UV_ESM goes back at the end.
2. Fork (`f`): make the same moves on the design `tracked`. Let the open calls end, and see whether an invariant breaks.
   Compare both paths: which of your moves is the first that leads to something else?
3. Do the same with `pushed-fixed`.
4. Answer both questions.

## What it means

Two states are enough to know who owns a page. They are not enough to know whether a normal page holds *the VM's contents
or ciphertext that stands in for them*. `tracked` knows it, because "paged out" is a state. `pushed-fixed` shows that two
states can do: a mark says "this page may stand in for a secure one", and at H_SVM_INIT_ABORT the Hypervisor *asks* the
Ultravisor, which knows. So the answer to the reviewer's question is: yes, if you ask where you can't tell.

The full answer, with every interleaving of a small VM: [the question](../the-question.md).
"""


def first_difference(history: History, design: DesignName) -> tuple[int, str]:
    """Return the number of the first move that leads to something else on another design, and to what.

    (0, "") where each move leads to the same; a move that can't be made there leads to nothing.
    """
    session = Session(Plan(design, LESSON.plan.image, LESSON.plan.plug), limit=len(history.made))
    for number, each in enumerate(history.made, 1):
        try:
            session.move(each.move)
        except NotPossible:
            return number, "nothing"
        outcome = session.nodes[session.at].outcome
        if outcome != each.outcome:
            return number, outcome
    return 0, ""


def _judge(history: History, answers: Answers) -> str:
    number, _ = first_difference(history, Design.TRACKED)
    if answers["tracked"].strip() != (str(number) if number else "none"):
        return (
            f"Under `tracked` it is not move {answers['tracked'].strip()[:10]!r} that leads to something else first: compare"
            " both paths, line by line."
        )
    _, leads_to = first_difference(history, Design.PUSHED_FIXED)
    if answers["pushed-fixed"].strip() != (leads_to or "none"):
        return (
            f"Under `pushed-fixed` that move does not lead to {answers['pushed-fixed'].strip()[:40]!r}: read the path of the"
            " fork, and copy what it says behind the move."
        )
    return ""


LESSON: Final = Lesson(
    number="8",
    name="two-states",
    title="Why four states, and why two can do",
    goal="Break `pushed`, and find the first of your moves that leads to something else under `tracked` and `pushed-fixed`.",
    text=TEXT,
    hints=(
        "The page must hold something before UV_ESM, or nothing can be lost. And it must be a page that UV_ESM asks for:"
        " GFN 0.",
        "Wait until GFN 0 is secure, and let the VMM read it before H_SVM_INIT_ABORT has done its work. Two calls are open"
        " then.",
        "`vmm: host write 0`; `guest 0: UV_ESM with a bad image`, and `go on` until H_SVM_INIT_ABORT is on its way; then"
        " `vmm: host read 0` to its end; then let UV_ESM go on to its end. GFN 0 reads as zero: its contents are lost.",
    ),
    meaning="Two states can't tell contents from ciphertext that stands in for them; whoever asks in time needs no more.",
    plan=Plan(Design.PUSHED, (Part.BROUGHT, Part.UNMIGRATED), plug=1),
    milestones=(
        Milestone(
            "an invariant is broken under `pushed`",
            "No invariant is broken yet: let a page with contents go out while a UV_ESM is under way that will fail.",
            lambda history: bool(history.broken()),
        ),
        Milestone(
            "no call is open",
            "It must end in a quiescent state: let the open calls go on to their ends.",
            lambda history: history.end.quiescent,
        ),
    ),
    questions=(
        Question(
            "tracked",
            "The first of your moves, counted from the start, that leads to something else under `tracked`: its number, or"
            " `none`.",
        ),
        Question(
            "pushed-fixed",
            "The first of your moves that leads to something else under `pushed-fixed`: what does it lead to there? Copy the"
            " words of the path, for example `asks UV_SVM_TERMINATE`, or `none`.",
        ),
    ),
    judge=_judge,
    solution=Solution(
        (
            "vmm: host write 0 ...",
            "guest 0: UV_ESM with a bad image",
            *["guest 0: go on"] * 12,
            "vmm: host read 0 ...",
            "guest 0: go on ...",
        ),
        {"tracked": "19", "pushed-fixed": "asks UV_PAGE_OUT"},
    ),
)
