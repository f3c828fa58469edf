"""A file is borne out, or not, by what was seen; what nobody can see from outside is its word alone."""

from typing import Any

import pytest

from pef_lab.replay.judge import Breach
from pef_lab.replay.verdict import NO_INVARIANT, bears_out


@pytest.mark.parametrize(
    ("claimed", "fault", "seen", "borne_out"),
    [
        ("the_tables_agree", None, {"the_tables_agree", "what_is_asked_succeeds"}, True),
        ("the_tables_agree", None, {"what_is_asked_succeeds"}, False),
        ("the_tables_agree", None, set(), False),
        ("the_tables_agree", "refused", set(), True),
        ("the_guest_finds_what_it_wrote", "refused", set(), False),
        ("no_iv_comes_twice", None, set(), True),
        (NO_INVARIANT, None, set(), True),
        (NO_INVARIANT, None, {"the_tables_agree"}, False),
    ],
)
def test_a_file_is_borne_out_by_what_can_be_seen(
    claimed: str, fault: str | None, seen: set[str], *, borne_out: bool
) -> None:
    step = type("Step", (), {"fault": fault})
    found: Any = type("File", (), {"invariant": claimed, "steps": (step,), "violated_after": 1})
    assert bears_out(found, [Breach(each, "") for each in seen]) is borne_out
