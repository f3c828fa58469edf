"""Lesson 6: a disagreement is not a fault: find some that heal."""

from typing import Final

from pef_explorer.plan import Part, Plan
from pef_lab.agreement import TRANSIENT_STATES
from pef_lessons.history import History, agree, runs_secure
from pef_lessons.lesson import Lesson, Milestone, Solution
from pef_protocol.designs import Design

NEEDED: Final = 2
IN_BETWEEN: Final = frozenset(state.name for state in TRANSIENT_STATES)
TEXT: Final = """
## The question

Each side keeps a table of its own with the state of each GFN. The first invariant of this protocol is "the two tables
agree". You are shown a moment at which the Hypervisor says SECURE of a GFN, and the Ultravisor says PAGEDOUT. Is this a
bug?

## Predict

- Can two services that talk by messages agree at *every* moment?
- If not: which of the two knows first that a page has gone out? And which knows first that a page has come back?

## Do

Find two different disagreements of a secure VM, and let both heal.

1. `guest 0: store 1`, then `vmm: host read 1`. Now press `j` one step at a time, and read both tables after each step.
   Stop where they differ: such a GFN is marked "in flight".
2. Go on to the end. They agree again.
3. Find another pair of states that differ. Which call moves a page in the opposite direction?

A GFN whose Ultravisor state begins with HV_ does not count. Such a state *says* that a call is under way; both of your
disagreements must be between states that could stand there forever.

## What it means

Two tables that are kept by messages differ for as long as an answer is on its way. The side that does the work knows
first, and the other side learns it by the answer. In a search through every interleaving of a small VM, about half of
all intermediate states have some GFN in flight.

So the invariant is about *quiescent* states only: where no call is open, the tables must agree. That is also the rule of
the colours in the console: amber for "in flight", red only where nothing is open and the tables differ. In lesson 7 you
will see red.
"""


def disagreements(history: History) -> set[tuple[str, str]]:
    """Return the pairs of states, Hypervisor and Ultravisor, that differed in a secure VM in passing."""
    return {
        (run.hypervisor, run.ultravisor)
        for frame in history.frames
        if runs_secure(frame) and not frame.quiescent
        for run in frame.gfns
        if run.ultravisor not in IN_BETWEEN and not agree(history.design, run.hypervisor, run.ultravisor)
    }


def _healed(history: History) -> bool:
    end = history.end
    return (
        end.quiescent
        and runs_secure(end)
        and not history.broken()
        and all(agree(history.design, run.hypervisor, run.ultravisor) for run in end.gfns)
    )


LESSON: Final = Lesson(
    number="6",
    name="disagreement-heals",
    title="Disagreement is not a fault",
    goal="Find two different disagreements of the two tables in a secure VM, and end where both have healed.",
    text=TEXT,
    hints=(
        "A disagreement is there after a side has done its work, and before the other side has read the answer.",
        "A page that goes out gives one: see what both sides say just before the VMM's read ends.",
        "A page that comes back gives the other one: let the guest load a page that is out, and stop when UV_PAGE_IN has"
        " answered U_SUCCESS. Then step on until nothing is open.",
    ),
    meaning="The side that does the work knows first; so only a quiescent state in which the tables differ is a fault.",
    plan=Plan(Design.TRACKED, (Part.BROUGHT, Part.UNMIGRATED), plug=1),
    opening=("vmm: host write 0 ...", "guest 0: UV_ESM ..."),
    milestones=(
        Milestone(
            "one disagreement was there",
            "The tables have agreed at every step so far: page a page out by a host read, one step at a time.",
            lambda history: len(disagreements(history)) >= 1,
        ),
        Milestone(
            "a second, different one was there",
            "You have found one disagreement: now find another pair of states, for example while a page comes back.",
            lambda history: len(disagreements(history)) >= NEEDED,
        ),
        Milestone(
            "all have healed",
            "It must end where no call is open, the VM is secure, and both tables agree: step on until nothing is open.",
            _healed,
        ),
    ),
    solution=Solution(("guest 0: store 1 ...", "vmm: host read 1 ...", "guest 0: load 1 ...")),
)
