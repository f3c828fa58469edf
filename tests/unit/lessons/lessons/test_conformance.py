"""Lesson 11: what a student sees of the pair, and which answers pass."""

import asyncio
from asyncio.subprocess import DEVNULL
from dataclasses import replace
from pathlib import Path

import pytest

from harness.lesson_tried import tried
from pef_lab.commandline import FAILED
from pef_lab.pair import PairPlan, started
from pef_lessons.lessons.conformance import LESSON
from pef_lessons.secret_fault import POOL, SEED_FROM, fault_of, row_of
from scenarios.pef_command import PEF, environment

STUDENT, ROW = LESSON.solution.answers["student"], LESSON.solution.answers["row"]


@pytest.fixture(autouse=True)
def no_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SEED_FROM, raising=False)


def test_the_row_of_another_student_does_not_pass() -> None:
    other = next(row for row in POOL.values() if row != ROW)
    verdict = tried(LESSON, answers={"student": STUDENT, "row": other})
    assert (verdict.passed, verdict.sentence.startswith(f"The row '{other}' is not about")) == (False, True)


def test_another_row_about_the_same_check_passes() -> None:
    check = ROW.partition(":")[0]
    assert tried(LESSON, answers={"student": STUDENT, "row": f"{check}:anything"}).passed


def test_a_row_about_the_order_of_two_checks_asks_for_more() -> None:
    path, check = ROW.partition(":")[0].rsplit("/", 1)
    verdict = tried(LESSON, answers={"student": STUDENT, "row": f"{path}/order/{check}<lpid"})
    assert (verdict.passed, "order of two checks" in verdict.sentence) == (False, True)


async def rows_on(folder: Path, *mutants: str) -> int:
    """Play the row of the solution on a pair with mutants, as a student does; return the status."""
    async with started(PairPlan(1 << 30, mutants=mutants)) as pair:
        tokens = {f"{role}_token": token for role, token in pair.visor_tokens.items()}
        where = environment(folder) | replace(pair.endpoints, **tokens).environment
        ran = await asyncio.create_subprocess_exec(PEF, "rows", "--id", ROW, env=where, stdout=DEVNULL)
        return await ran.wait()


@pytest.mark.verify
@pytest.mark.sockets
@pytest.mark.slow
async def test_the_row_of_the_solution_fails_on_the_students_pair_and_on_no_sound_one(
    tmp_path: Path,
) -> None:
    """The fault can be seen from outside.

    Given the pair that `pef lesson start 11` serves to the student of the solution; when the row of the
    solution is played; then it fails there, and passes on a pair without a fault.
    """
    fault = fault_of(STUDENT)
    assert row_of(fault) == ROW
    assert await rows_on(tmp_path, fault.id) == FAILED
    assert await rows_on(tmp_path) == 0
