"""Ladders: the first rung that refuses gives the code, for the message or for each run."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pef_kit.ladder import Ladder, MismatchedLadder, judged_by_table
from pef_protocol.codes import UCode
from pef_protocol.ladders import Rung

CALLER = Rung("caller", UCode.U_PERMISSION, "anybody")
PLACE = Rung("ra", UCode.U_P2, "some runs", per_run=True)
LPID = Rung("lpid", UCode.U_PARAMETER, "the message")
ADDRESS = Rung("gpa", UCode.U_P3, "other runs", per_run=True)
STATE = Rung("state", UCode.U_P2, "left to the table", per_run=True)
WHOLE_STATE = Rung("state", UCode.U_STATE, "a VM")
RUNGS = (CALLER, PLACE, LPID, ADDRESS, STATE)


@dataclass
class Asked:
    """What a test asks for: which rungs pass, and which were asked, in order."""

    passes: Mapping[str, bool | list[bool]]
    climbed: list[str] = field(default_factory=list)

    def check(self, name: str) -> bool:
        self.climbed.append(name)
        return bool(self.passes[name])

    def check_runs(self, name: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        self.climbed.append(name)
        return np.array(self.passes[name], np.bool_)


LADDER: Ladder[Asked] = Ladder(
    RUNGS,
    {
        "caller": lambda asked: asked.check("caller"),
        "ra": lambda asked: asked.check_runs("ra"),
        "lpid": lambda asked: asked.check("lpid"),
        "gpa": lambda asked: asked.check_runs("gpa"),
    },
)
MESSAGE: Ladder[Asked] = Ladder(
    (CALLER, LPID, WHOLE_STATE),
    {
        "state": lambda asked: asked.check("state"),
        "lpid": lambda asked: asked.check("lpid"),
        "caller": lambda asked: asked.check("caller"),
    },
)


def test_only_the_state_of_runs_is_left_to_the_table() -> None:
    assert [judged_by_table(rung) for rung in (*RUNGS, WHOLE_STATE)] == [False] * 4 + [True, False]
    assert LADDER.rungs == RUNGS[:-1]


@pytest.mark.parametrize(
    ("names", "wrong"),
    [
        (("caller", "lpid"), "state"),
        (("caller", "lpid", "state", "order"), "order"),
        (("caller", "flags", "state"), "flags, lpid"),
        ((), "caller, lpid, state"),
    ],
    ids=["missing", "unknown", "misspelt", "none"],
)
def test_a_ladder_whose_checks_are_not_its_rungs_is_refused(names: tuple[str, ...], wrong: str) -> None:
    with pytest.raises(MismatchedLadder, match=f": {wrong}$"):
        Ladder((CALLER, LPID, WHOLE_STATE), dict.fromkeys(names, lambda _: True))


def test_a_check_of_what_the_table_judges_is_refused() -> None:
    with pytest.raises(MismatchedLadder, match="state"):
        Ladder((CALLER, STATE), dict.fromkeys(("caller", "state"), lambda _: True))


@pytest.mark.parametrize("caller", [True, False])
@pytest.mark.parametrize("lpid", [True, False])
@pytest.mark.parametrize("state", [True, False])
def test_the_first_rung_that_refuses_answers_and_no_later_one_is_asked(
    caller: bool, lpid: bool, state: bool
) -> None:
    asked = Asked({"caller": caller, "lpid": lpid, "state": state})
    refusing = [rung for rung in MESSAGE.rungs if not asked.passes[rung.name]]
    assert MESSAGE.climb(asked) is (refusing[0] if refusing else None)
    names = [rung.name for rung in MESSAGE.rungs]
    assert asked.climbed == (names[: names.index(refusing[0].name) + 1] if refusing else names)


@given(st.booleans(), st.booleans(), st.lists(st.tuples(st.booleans(), st.booleans()), max_size=6))
def test_each_run_has_the_code_of_the_first_rung_that_refused_it(
    caller: bool, lpid: bool, runs: list[tuple[bool, bool]]
) -> None:
    asked = Asked(
        {"caller": caller, "lpid": lpid, "ra": [ra for ra, _ in runs], "gpa": [gpa for _, gpa in runs]}
    )
    whole, codes = LADDER.climb_runs(asked, len(runs))

    def code(ra: bool, gpa: bool) -> int:
        return int(PLACE.code if not ra else ADDRESS.code if not gpa else 0)

    no_place = bool(runs) and not any(ra for ra, _ in runs)
    assert whole is (CALLER if not caller else LPID if not lpid and not no_place else None)
    by_run = [code(ra, gpa) for ra, gpa in runs]
    assert codes.tolist() == (by_run if whole is None else [int(whole.code)] * len(runs))
    assert codes.dtype == np.int16
