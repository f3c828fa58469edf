"""Lesson 11: conformance: a service with one secret fault; name the check that it leaves out."""

from typing import Final

from pef_lessons.history import History
from pef_lessons.lesson import Answers, Lesson, Question, Solution

EXAMPLE: Final = "Ada Lovelace"
TEXT: Final = """
## The question

Somebody gives you two services and says: "they keep the protocol". You have no source code. How do you find out, and how
do you find out *which* promise is broken?

## Predict

One of the two services has exactly one fault: it leaves out one check of one call. Everything else is right.

- Will an honest guest on an honest host notice it?
- How many of about a thousand rows will fail: one, some, or hundreds?

## Do

1. `pef lesson start 11 --student "YOUR NAME"` starts the pair. Your fault is chosen by your name, so your neighbour has
   another one. Keep the pair up. It prints the name of a file, `pair.env`: in a second terminal, load that file first
   (`. FILE`).
2. `pef rows` tests the pair: each row sends a few messages and compares the answers with what the protocol says. It takes
   about half a minute.
3. Read the failures. The id of a row says what it is about: `uv/page-in/order:4 KiB` is the Ultravisor, the call
   UV_PAGE_IN, and the check `order`. A row like `uv/page-in/order/lpid<gpa` is about the *order* of two checks.
4. Name the check that is left out: give the id of a row that is about this check alone.

Run `pef designs` on the same pair as well. It has an honest guest and an honest host: what does it notice?

## What it means

A check that is left out is invisible as long as everybody is honest: no honest Hypervisor sends a wrong page order.
That is why a conformance suite must send *wrong* messages, one fault at a time, and must know which code each one has to
be answered with. And it is why we test the tests: each row has to notice at least one such fault
([mutants](../mutants.md)).
"""


def _judge(_: History, answers: Answers) -> str:
    try:
        from pef_lessons.secret_fault import fault_of, names_the_check
    except ImportError:
        return "The faults are not installed here: no image contains them. Check it where `pef_mutants` is."
    fault = fault_of(answers["student"])
    row = answers["row"].strip()
    if names_the_check(row, fault):
        return ""
    if fault.concerns(row):
        return "This row is about the order of two checks: name a row that is about the missing check alone."
    return f"The row {row[:60]!r} is not about the check that your service leaves out."


LESSON: Final = Lesson(
    number="11",
    name="conformance",
    title="Conformance: a service with one secret fault",
    goal="Find the one check that a service leaves out, and name a row that shows it.",
    text=TEXT,
    hints=(
        "Run all rows once, and write down the ids that fail. Ignore the ids with `/order/` and `<` at first.",
        "The failing ids have the call and the check in common. `pef rows --id 'uv/page-in/*'` plays the rows of one call.",
        "Of an id such as `uv/page-in/order:4 KiB` the part before the colon is the check; hand in the whole id.",
    ),
    meaning="Only a wrong message shows a check that is missing: honest traffic never will.",
    by_moves=False,
    questions=(
        Question("student", "Your name, exactly as you gave it to `pef lesson start 11 --student`."),
        Question("row", "The id of a row that fails, and that is about the missing check alone."),
    ),
    judge=_judge,
    solution=Solution(answers={"student": EXAMPLE, "row": "uv/unshare-page/state:implicitly shared"}),
)
