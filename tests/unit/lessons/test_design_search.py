"""The template of lesson 10: filled, found as an installed design is, and explored."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pef_kit.core.designs import NAMED_BY
from pef_lessons.design_search import SCHEDULES, TEMPLATE, filled, install, scheduled, searched
from pef_lessons.three_holes import HOLES, NAME
from pef_protocol.designs import Design

FIRST = {hole: words[0] for hole, words in HOLES.items()}
ASKED = "from pef_hypervisor.designs import DESIGNS; print(*DESIGNS)"


def asked_of(folder: Path) -> subprocess.CompletedProcess[str]:
    """Ask a process that has the template on its path for the designs that it knows."""
    where = {**os.environ, "PYTHONPATH": str(folder), NAMED_BY: NAME}
    return subprocess.run(
        [sys.executable, "-c", ASKED], env=where, capture_output=True, text=True, check=False, timeout=60
    )


def test_each_hole_is_filled_with_its_word() -> None:
    text = filled(FIRST)
    assert [line for line in text.splitlines() if ': str = "' in line] == [
        f'{hole}: str = "{word}"' for hole, word in FIRST.items()
    ]


@pytest.mark.parametrize("word", ["", 'send"; import os; "', "SEND"])
def test_no_other_word_comes_into_the_file(word: str) -> None:
    with pytest.raises(ValueError, match="is none of its words"):
        filled({**FIRST, "AT_INIT_DONE": word})


def test_a_filled_template_is_a_registered_design(tmp_path: Path) -> None:
    install(filled(FIRST), tmp_path)
    ran = asked_of(tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert str(NAME) in ran.stdout.split()


def test_a_template_with_a_hole_says_which(tmp_path: Path) -> None:
    install(TEMPLATE.read_text(), tmp_path)
    ran = asked_of(tmp_path)
    assert "three-holes: fill AT_INIT_DONE with one of: keep, mark secure, send" in ran.stderr


@pytest.mark.parametrize("design", [Design.TRACKED, Design.PUSHED_FIXED])
def test_the_schedules_break_no_sound_design(design: Design) -> None:
    assert list(scheduled(design)) == []


def test_each_schedule_breaks_pushed() -> None:
    broken = list(scheduled(Design.PUSHED))
    assert [sum(name in sentence for sentence in broken) > 0 for name in SCHEDULES] == [True, True]


def test_a_search_tells_how_far_it_came() -> None:
    _, transitions, complete = next(searched(Design.PUSHED_FIXED, most=50))
    assert (transitions >= 50, complete) == (True, False)
