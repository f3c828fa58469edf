"""What services with a real image can't play is refused in a sentence, before anything starts."""

import json
from pathlib import Path
from typing import Final

import pytest

from pef_lab.failures import WrongInput
from pef_lab.replay.counterexample import Counterexample, read
from pef_lab.replay.playable import fits

FOLDER: Final = Path(__file__).parents[4] / "docs" / "counterexamples"


def file_of(name: str) -> Counterexample:
    """Return the file of a mutant as if no mutant were needed."""
    content = json.loads((FOLDER / "mutants" / f"{name}.json").read_text(encoding="utf-8"))
    return Counterexample.model_validate_json(json.dumps(content | {"mutant": None}))


def test_a_file_of_the_usual_actions_fits() -> None:
    fits(read(FOLDER / "broken-the-tables-agree.json"))


@pytest.mark.parametrize("name", ["older-taken", "other-taken"])
def test_a_host_that_keeps_ciphertext_can_be_played(name: str) -> None:
    fits(file_of(name))


@pytest.mark.parametrize(
    ("name", "says"), [("range-cut", "side by side"), ("measured-gone", "lies in one slot")]
)
def test_what_a_real_image_can_not_be_is_refused(name: str, says: str) -> None:
    with pytest.raises(WrongInput, match=says):
        fits(file_of(name))


def test_what_needs_a_fault_is_refused() -> None:
    with pytest.raises(WrongInput, match="deliberate fault one-iv"):
        fits(read(FOLDER / "mutants" / "one-iv.json"))
