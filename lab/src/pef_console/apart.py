"""The verdict on a lesson that takes long, in a process of its own: no move of a session waits for it.

`python -m pef_console.apart` takes {"lesson", "answers"} and writes the verdict, both as JSON.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final

import anyio
from pydantic import BaseModel

from pef_console.known_lessons import Lesson, known_lessons
from pef_console.stage import Checked, NotPossible, Part
from pef_explorer.session.session import Session

PROGRAM: Final = (sys.executable, "-P", "-m", "pef_console.apart")
KEPT: Final = frozenset({"PEF_DESIGNS"})
"""What is named PEF_… and given to the process: no token is."""


class Asked(BaseModel):
    """A lesson, and the answers to its questions."""

    lesson: str
    answers: dict[str, str]


async def checked_apart(asked: Asked, program: Sequence[str] = PROGRAM) -> Checked:
    """Return the verdict; raise NotPossible where the process gives none. Cancelled, it ends the process."""
    own = {name: value for name, value in os.environ.items() if name in KEPT or not name.startswith("PEF_")}
    done = await anyio.run_process([*program, asked.model_dump_json()], check=False, env=own)
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise NotPossible(f"no verdict can be given: {' '.join(last) or 'the process ended'}")
    return Checked.model_validate_json(done.stdout)


def checked(lesson: Lesson, session: Session, answers: Mapping[str, str]) -> Checked:
    """Return the verdict of a lesson on a session."""
    verdict = lesson.check(session, answers)
    progress = [Part(label=each.label, done=each.done) for each in lesson.progress(session, answers)]
    return Checked(passed=verdict.passed, sentence=verdict.sentence, progress=progress)


def main() -> None:
    """Check what the argument asks for."""
    asked = Asked.model_validate_json(sys.argv[1])
    lesson = known_lessons()[asked.lesson]
    sys.stdout.write(checked(lesson, lesson.session(), asked.answers).model_dump_json())


if __name__ == "__main__":
    main()
