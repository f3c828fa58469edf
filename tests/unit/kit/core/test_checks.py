"""Check orders: the first check that refuses gives the code, for the message or for each run."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pef_kit.core.checks import CheckOrder, MismatchedChecks, answered_by_table
from pef_protocol.check_orders import Check
from pef_protocol.codes import UCode

CALLER = Check("caller", UCode.U_PERMISSION, "anybody")
PLACE = Check("ra", UCode.U_P2, "some runs", per_run=True)
LPID = Check("lpid", UCode.U_PARAMETER, "the message")
ADDRESS = Check("gpa", UCode.U_P3, "other runs", per_run=True)
STATE = Check("state", UCode.U_P2, "left to the table", per_run=True)
WHOLE_STATE = Check("state", UCode.U_STATE, "a VM")
ORDER = (CALLER, PLACE, LPID, ADDRESS, STATE)


@dataclass
class Asked:
    """What a test asks for: which checks pass, and which were asked, in order."""

    passes: Mapping[str, bool | list[bool]]
    checked: list[str] = field(default_factory=list)

    def check(self, name: str) -> bool:
        self.checked.append(name)
        return bool(self.passes[name])

    def check_runs(self, name: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        self.checked.append(name)
        return np.array(self.passes[name], np.bool_)


CHECKS: CheckOrder[Asked] = CheckOrder(
    ORDER,
    {
        "caller": lambda asked: asked.check("caller"),
        "ra": lambda asked: asked.check_runs("ra"),
        "lpid": lambda asked: asked.check("lpid"),
        "gpa": lambda asked: asked.check_runs("gpa"),
    },
)
MESSAGE: CheckOrder[Asked] = CheckOrder(
    (CALLER, LPID, WHOLE_STATE),
    {
        "state": lambda asked: asked.check("state"),
        "lpid": lambda asked: asked.check("lpid"),
        "caller": lambda asked: asked.check("caller"),
    },
)


def test_only_the_state_of_runs_is_left_to_the_table() -> None:
    assert [answered_by_table(check) for check in (*ORDER, WHOLE_STATE)] == [False] * 4 + [True, False]
    assert CHECKS.checks == ORDER[:-1]


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
def test_a_check_order_whose_checks_are_not_its_checks_is_refused(names: tuple[str, ...], wrong: str) -> None:
    with pytest.raises(MismatchedChecks, match=f": {wrong}$"):
        CheckOrder((CALLER, LPID, WHOLE_STATE), dict.fromkeys(names, lambda _: True))


def test_a_check_of_what_the_table_judges_is_refused() -> None:
    with pytest.raises(MismatchedChecks, match="state"):
        CheckOrder((CALLER, STATE), dict.fromkeys(("caller", "state"), lambda _: True))


@pytest.mark.parametrize("caller", [True, False])
@pytest.mark.parametrize("lpid", [True, False])
@pytest.mark.parametrize("state", [True, False])
def test_the_first_check_that_refuses_answers_and_no_later_one_is_asked(
    caller: bool, lpid: bool, state: bool
) -> None:
    asked = Asked({"caller": caller, "lpid": lpid, "state": state})
    refusing = [check for check in MESSAGE.checks if not asked.passes[check.name]]
    assert MESSAGE.first_failing(asked) is (refusing[0] if refusing else None)
    names = [check.name for check in MESSAGE.checks]
    assert asked.checked == (names[: names.index(refusing[0].name) + 1] if refusing else names)


@given(st.booleans(), st.booleans(), st.lists(st.tuples(st.booleans(), st.booleans()), max_size=6))
def test_each_run_has_the_code_of_the_first_check_that_refused_it(
    caller: bool, lpid: bool, runs: list[tuple[bool, bool]]
) -> None:
    asked = Asked(
        {"caller": caller, "lpid": lpid, "ra": [ra for ra, _ in runs], "gpa": [gpa for _, gpa in runs]}
    )
    whole, codes = CHECKS.check_runs(asked, len(runs))

    def code(ra: bool, gpa: bool) -> int:
        return int(PLACE.code if not ra else ADDRESS.code if not gpa else 0)

    no_place = bool(runs) and not any(ra for ra, _ in runs)
    assert whole is (CALLER if not caller else LPID if not lpid and not no_place else None)
    by_run = [code(ra, gpa) for ra, gpa in runs]
    assert codes.tolist() == (by_run if whole is None else [int(whole.code)] * len(runs))
    assert codes.dtype == np.int16
