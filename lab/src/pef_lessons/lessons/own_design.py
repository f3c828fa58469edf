"""Lesson 10: write a design in one file, and explore it."""

from typing import Final

from pef_lab.failures import OperatorFault
from pef_lessons.design_search import explore
from pef_lessons.history import History
from pef_lessons.lesson import Answers, Lesson, Question, Solution
from pef_lessons.three_holes import HOLES

TEXT: Final = """
## The question

In lesson 8 you broke `pushed` by hand. Now you are the designer. You keep two states per GFN, SECURE and NORMAL, and you
have three decisions to make. Is there a design with two states that no order of events breaks?

## Predict

Three holes, 3 x 2 x 2 words: twelve designs. How many of them are sound? Write the number down, and mark the one that you
believe in.

## Do

`pef lesson start 10` writes two things into the folder `lesson-10`: the file `three_holes.py`, and what makes it known as a
design. Fill the three holes of the file:

| hole | the situation | words |
|---|---|---|
| `AT_INIT_DONE` | UV_ESM succeeds; the Hypervisor has a page that it calls NORMAL | `keep`: it stays NORMAL; `mark secure`: it is SECURE from now on, nothing is sent; `send`: it is sent by UV_PAGE_IN, unless the Ultravisor refuses |
| `AT_INIT_ABORT` | UV_ESM fails; the VM goes on as a normal VM | `trust the page`: what stands there is the VM's, or is scrubbed; `ask the Ultravisor`: it says what it has |
| `WHEN_PLUGGED` | a slot is plugged into a secure VM | `mark after registering`: its pages are SECURE once the Ultravisor has answered; `mark before registering` |

Then let the explorer try every order of events of a VM of one GFN, one call at a time:

```
export PYTHONPATH=lesson-10 PEF_DESIGNS=three-holes
pef explore --design three-holes --slots 1,0 --calls 1
```

Where it breaks, it prints the invariant and the number of steps. `--keep DIR` keeps each counterexample as a file, which
you can open in the console, or draw by `pef trace FILE`. Read it before you change a word.

Write the three words into the answers of your hand-in.

## What it means

The check of this lesson does the same search, and then it plays two schedules with *two* calls at once: one call at a time
is not enough to find every fault. Both bounds are part of the answer. "Sound" always means: sound within what was searched.
`pef explore` without `--calls 1` searches further, and takes minutes.

No code of the protocol is in your file. A design is data: the rows of two tables. That is why twelve designs can be
compared in a few minutes.
"""
MEANING: Final = "Sound within these bounds: each order of events of one GFN with one call at a time, and two schedules with two calls."


def _judge(_: History, answers: Answers) -> str:
    try:
        found = explore({hole: answers[hole] for hole in HOLES})
    except OperatorFault as fault:
        return f"The search could not be made: {str(fault)[:200]}"
    if found.broken:
        return f"The search breaks your design: {found.broken[0]}."
    if not found.complete:
        return f"The search of your design did not end within {found.transitions:,} transitions."
    return ""


LESSON: Final = Lesson(
    number="10",
    name="own-design",
    title="Write a design in one file, and explore it",
    goal="Fill three holes so that a design with two states survives the search.",
    text=TEXT,
    hints=(
        "Begin with `AT_INIT_DONE`. With `keep` you have the corruption of 2020. With `mark secure` the Hypervisor also marks"
        " pages that are shared or paged out, because it calls them NORMAL.",
        "A page that was paged out during a UV_ESM that failed looks like any other NORMAL page. Who knows what it is?",
        "Between the answer of the Ultravisor and its reading by the Hypervisor the guest may use the new slot already.",
        "`send`, `ask the Ultravisor`, and the one word for `WHEN_PLUGGED` that leaves no time between.",
    ),
    meaning=MEANING,
    by_moves=False,
    questions=tuple(
        Question(hole, f"Which word have you put into {hole}?", words) for hole, words in HOLES.items()
    ),
    judge=_judge,
    solution=Solution(
        answers={
            "AT_INIT_DONE": "send",
            "AT_INIT_ABORT": "ask the Ultravisor",
            "WHEN_PLUGGED": "mark before registering",
        }
    ),
)
