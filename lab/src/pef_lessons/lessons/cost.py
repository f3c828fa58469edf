"""Lesson 12: cost: predict messages and bytes at 1, 10 and 100 GiB."""

import json
import re
from collections.abc import Callable
from importlib.resources import files
from typing import Any, Final

from pef_lessons.history import History
from pef_lessons.lesson import Answers, Lesson, Question, Solution

SIZES: Final = ("1GiB", "10GiB", "100GiB")
MEASURED: Final[dict[str, Any]] = json.loads(
    files("pef_lessons").joinpath("measured_costs.json").read_text(encoding="utf-8")
)
"""What `pef designs` measured: for each size and design the messages, the GFNs that they carry, and the bytes."""
TOLERANCE: Final = 0.1
MIB: Final = 1 << 20
LONGEST: Final = 100
"""Characters of an answer."""
NUMBER: Final = re.compile(r"\d[\d,_']*(?:\.\d+)?")
TEXT: Final = """
## The question

Why did UV_ESM of a VM of 100 GB take about seven minutes before 2020? And what exactly became cheaper: fewer messages,
fewer pages in the messages, or fewer bytes?

## Predict

A page has 64 KiB. The image that UV_ESM needs has 35 pages (2.2 MiB), and the guest has touched 32 MiB of its memory.
For each page that the Ultravisor asks for, H_SVM_PAGE_IN carries one GFN. If there is anything in this page, UV_PAGE_IN
carries the GFN a second time, and the bytes are moved.

Predict four figures, each for a VM of 1, 10 and 100 GiB:

| figure | of the design |
|---|---|
| `tracked-messages`: ultracalls and hypercalls together | `tracked` asks for the image only |
| `tracked-gfns`: GFNs that all messages carry | `tracked` |
| `eager-gfns`: GFNs that all messages carry | `eager` asks for every page of the VM |
| `eager-mib`: MiB that are moved | `eager` |

Write each as three numbers, for example `10 100 1000`.

## Do

1. Measure one size: `pef designs --size 1GiB --touched 32MiB --design eager --design tracked`.
2. Compare it with your prediction for 1 GiB, and say what was wrong with your model.
3. Correct the figures for 10 and 100 GiB *without* measuring. Then measure, if you want to: `--size 100GiB` works on a
   laptop, because pages that nobody touches take no memory.
4. Write the figures into the answers of your hand-in.

## What it means

The bytes do not depend on the size of the VM: under each design only pages with contents are moved. What grows with the
size is the number of GFNs in the messages of `eager`: 1.6 million for 100 GiB. In 2020 each message carried one GFN, so
these were 1.6 million calls. Our messages carry runs of GFNs, so `eager` needs few messages even for 100 GiB, but both
sides must still look at each page.

`tracked` does not depend on the size at all. A good protocol makes the cost depend on what is *used*.
"""


def _of(size: str, design: str) -> dict[str, int]:
    found: dict[str, int] = MEASURED["measured"][size][design]
    return found


FIGURES: Final[dict[str, Callable[[str], float]]] = {
    "tracked-messages": lambda size: _of(size, "tracked")["ultracalls"] + _of(size, "tracked")["hypercalls"],
    "tracked-gfns": lambda size: _of(size, "tracked")["gfns"],
    "eager-gfns": lambda size: _of(size, "eager")["gfns"],
    "eager-mib": lambda size: _of(size, "eager")["bytes"] / MIB,
}


def numbers_in(text: str) -> list[float]:
    """Return the numbers in an answer; thousands may be set apart by a comma."""
    if len(text) > LONGEST:
        return []
    return [float(re.sub(r"[,_']", "", found)) for found in NUMBER.findall(text)]


def _judge(_: History, answers: Answers) -> str:
    for name, measured in FIGURES.items():
        given = numbers_in(answers[name])
        if len(given) != len(SIZES):
            return f"{name!r} takes three numbers, for 1, 10 and 100 GiB, with spaces between them."
        for size, figure in zip(SIZES, given, strict=True):
            if abs(figure - measured(size)) > TOLERANCE * measured(size):
                return (
                    f"{name!r} for {size} is off by more than {TOLERANCE:.0%} of what was measured"
                    f" ({MEASURED['command'].replace('SIZE', size)})."
                )
    return ""


LESSON: Final = Lesson(
    number="12",
    name="cost",
    title="Cost: messages and bytes at 1, 10 and 100 GiB",
    goal="Predict messages, GFNs and bytes of UV_ESM for three sizes of VM, each within 10 % of what was measured.",
    text=TEXT,
    hints=(
        "A GiB has 16,384 pages of 64 KiB. `eager` asks for each of them once.",
        "Only pages with contents are carried a second time, and only their bytes are moved: the image, and what the guest"
        " has touched.",
        "`tracked` carries 35 GFNs twice, whatever the size. `eager` carries all pages, plus 512 touched ones, plus the"
        " image; it moves 32 MiB and the image. Measure the messages of `tracked` at 1 GiB: they do not change.",
    ),
    meaning="Cost that depends on what is used, not on the size: compared with measured figures, each within 10 %.",
    by_moves=False,
    questions=(
        Question("tracked-messages", "Messages of `tracked`, for 1, 10 and 100 GiB: three numbers."),
        Question("tracked-gfns", "GFNs carried by `tracked`, for 1, 10 and 100 GiB: three numbers."),
        Question("eager-gfns", "GFNs carried by `eager`, for 1, 10 and 100 GiB: three numbers."),
        Question("eager-mib", "MiB moved by `eager`, for 1, 10 and 100 GiB: three numbers."),
    ),
    judge=_judge,
    solution=Solution(
        answers={
            "tracked-messages": "20 20 20",
            "tracked-gfns": "70 70 70",
            "eager-gfns": "16,931 164,387 1,638,947",
            "eager-mib": "34.2 34.2 34.2",
        }
    ),
)
