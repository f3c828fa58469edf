"""The lessons as pages of `docs/lessons`, so that they can be read without the console."""

from typing import Final

from pef_lessons.all_lessons import LESSONS
from pef_lessons.lesson import Lesson

INDEX: Final = """# Lessons

For students who know what a virtual machine is, and for [lecturers](for-lecturers.md). Twelve lessons on one
question: how can a VM keep a secret from the host that runs it? Each lesson begins with a question and wants
a prediction. Then you try it on the services' own state machines, and a machine checks the end.

```
pef lesson list
pef lesson start 1          # in a terminal
pef console                 # the same lessons on a page
pef lesson check FILE       # has this hand-in reached the goal?
```

`make docs` writes these pages from `lab/src/pef_lessons/lessons`.

"""


def page_name(lesson: Lesson) -> str:
    """Return the file name of a lesson's page."""
    return f"{int(lesson.number):02}-{lesson.name}.md"


def page_of(lesson: Lesson) -> str:
    """Return a lesson as a page: goal, text, questions, and the hints folded away."""
    parts = [
        f"# Lesson {lesson.number}: {lesson.title}\n",
        f"**Goal.** {lesson.goal}\n",
        _how(lesson),
        lesson.text.strip() + "\n",
    ]
    if lesson.questions:
        parts += ["## Questions\n", "Your hand-in answers them under these names.\n"]
        parts += ["".join(_question(each.name, each.text, each.choices) for each in lesson.questions)]
    parts += ["## Hints\n", "Open them one after another; the last one nearly gives it away.\n"]
    parts += [_hint(number, hint) for number, hint in enumerate(lesson.hints, 1)]
    return "\n".join(parts)


def index() -> str:
    """Return the page with all lessons."""
    rows = ["| lesson | goal |", "|---|---|"]
    rows += [
        f"| [{each.number}. {each.title}]({page_name(each)}) | {each.goal} |" for each in LESSONS.values()
    ]
    return INDEX + "\n".join(rows) + "\n"


def _how(lesson: Lesson) -> str:
    how = f"Start it by `pef lesson start {lesson.number}`"
    return f"{how}, or choose it in `pef console`.\n" if lesson.by_moves else f"{how}.\n"


def _question(name: str, text: str, choices: tuple[str, ...]) -> str:
    words = f" One of: {', '.join(f'`{choice}`' for choice in choices)}." if choices else ""
    return f"- `{name}`: {text}{words}\n"


def _hint(number: int, hint: str) -> str:
    return f"<details><summary>Hint {number}</summary>\n\n{hint}\n\n</details>\n"
