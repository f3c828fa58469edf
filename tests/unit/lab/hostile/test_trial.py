"""An attempt's outcome follows from what was seen, and from nothing else."""

import asyncio
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pef_lab.failures import Refusal, Unanswered
from pef_lab.hostile.attack import Attack, Attempt, attempted
from pef_lab.hostile.catalogue import ATTACKS, NOT_TRIED
from pef_lab.hostile.ground import Ground
from pef_lab.hostile.report import Row, summary, table_of
from pef_lab.hostile.trial import Outcome, Trial
from pef_protocol.codes import UCode
from pef_protocol.events import Side

ROWS = range(1, 62)
"""Numbers of the catalogue."""


class QuietWatch:
    """An observer of a pair whose secure pages in use are as they are told, time after time."""

    def __init__(self, *used: int) -> None:
        self.used = list(used)

    async def answered_calls(self) -> list[dict[str, Any]]:
        return []

    async def pools(self) -> dict[Side, int]:
        pages = self.used.pop(0) if len(self.used) > 1 else self.used[0]
        return dict.fromkeys(Side, pages)


def quiet_ground(*used: int) -> Ground:
    """Return a ground on which nothing passes."""
    ground = SimpleNamespace(
        patience=0.0, watch=QuietWatch(*used or (0,)), exchanges=[], begin_anew=lambda: None
    )
    return cast("Ground", ground)


def doing(deed: Callable[[Trial], Any]) -> Attempt:
    """Return an attempt that does one thing."""

    async def attempt(at: Trial) -> None:
        deed(at)

    return attempt


async def outcome_of(attempt: Attempt, *used: int) -> Trial:
    return await attempted(quiet_ground(*used), Attack(1, "tried", attempt))


def fail(fault: Exception) -> None:
    raise fault


@pytest.mark.parametrize(
    ("deed", "outcome"),
    [
        pytest.param(
            lambda at: at.saw("digests", "unchanged", "unchanged"), Outcome.HELD, id="an_expected_sight"
        ),
        pytest.param(
            lambda at: at.saw("digests", "changed", "unchanged"), Outcome.BROKEN, id="another_sight"
        ),
        pytest.param(
            lambda at: at.saw_bytes("page", b"a", b"a", "as written"), Outcome.HELD, id="expected_bytes"
        ),
        pytest.param(
            lambda at: at.saw_bytes("page", b"a", b"b", "as written"), Outcome.BROKEN, id="other_bytes"
        ),
        pytest.param(
            lambda at: at.answered("UV_PAGE_IN", UCode.U_P2, UCode.U_P2, UCode.U_BUSY),
            Outcome.HELD,
            id="a_promised_code",
        ),
        pytest.param(
            lambda at: at.answered("UV_PAGE_IN", UCode.U_SUCCESS, UCode.U_P2),
            Outcome.BROKEN,
            id="another_code",
        ),
        pytest.param(lambda _: fail(Refusal("UV_ESM", "U_BUSY")), Outcome.TROUBLE, id="a_refusal"),
        pytest.param(lambda _: fail(Unanswered("UV_ESM", "no answer")), Outcome.TROUBLE, id="no_answer"),
        pytest.param(lambda _: fail(TimeoutError()), Outcome.TROUBLE, id="too_late"),
        pytest.param(
            lambda at: at.happens("a share", cast("Any", None)), Outcome.TROUBLE, id="a_deed_that_never_came"
        ),
    ],
)
async def test_an_outcome_follows_from_what_was_seen(deed: Callable[[Trial], Any], outcome: Outcome) -> None:
    assert (await outcome_of(doing(deed))).outcome is outcome


async def test_what_is_broken_stays_so_where_the_attempt_then_goes_wrong() -> None:
    def broken_and_dead(at: Trial) -> None:
        at.saw("page", "other bytes", "as written")
        fail(Unanswered("digest", "no answer"))

    trial = await outcome_of(doing(broken_and_dead))
    assert trial.outcome is Outcome.BROKEN
    assert trial.trouble == "no answer: digest: no answer"


async def test_secure_pages_that_stay_in_use_are_seen() -> None:
    trial = await outcome_of(doing(lambda _: None), 3, 5)
    assert trial.outcome is Outcome.BROKEN
    assert [(each.what, each.seen) for each in trial.looks] == [("secure pages left in use", "4")]


def test_a_code_alone_is_no_proof() -> None:
    trial = Trial(quiet_ground())
    trial.answered("UV_PAGE_IN", UCode.U_P2, UCode.U_P2)
    assert trial.outcome is Outcome.TROUBLE


def test_bytes_are_told_in_words() -> None:
    trial = Trial(quiet_ground())
    trial.saw_bytes("page", b"the guest's own", b"the guest's other", "as written")
    trial.saw_bytes("page", bytes(8), b"the guest's other", "as written")
    assert [each.seen for each in trial.looks] == ["other bytes", "zeroes"]
    assert "guest's o" not in repr(trial)


async def test_what_goes_wrong_in_a_deed_is_trouble() -> None:
    async def dies(_: object) -> None:
        raise Unanswered("digest", "no answer")

    async def attempt(at: Trial) -> None:
        deed = at.happens("a share", cast("Any", dies))
        at.saw("digests", "unchanged", "unchanged")
        with pytest.raises(Unanswered):
            await deed(cast("Any", None))

    trial = await outcome_of(attempt)
    assert (trial.outcome, trial.trouble) == (Outcome.TROUBLE, "a share: digest: no answer")


async def test_an_attempt_that_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pef_lab.hostile.attack.LONGEST", 0.01)

    async def for_ever(_: Trial) -> None:
        await asyncio.Event().wait()

    trial = await outcome_of(for_ever)
    assert (trial.outcome, trial.trouble) == (Outcome.TROUBLE, "not done within 0.01 s")


def test_a_row_tells_what_must_not_be() -> None:
    trial = Trial(quiet_ground())
    trial.answered("UV_PAGE_IN", UCode.U_SUCCESS, UCode.U_P2)
    trial.saw("digests", "changed: ultravisor", "unchanged")
    row = Row(Attack(5, "over a page", doing(lambda _: None)), trial, 0.5)
    cells = [[*map(str, column.cells)] for column in table_of([row]).columns]
    assert cells == [
        ["5"],
        ["over a page\n  answered: U_SUCCESS for U_P2\n  seen: digests: changed: ultravisor, not unchanged"],
        ["✘ BROKEN"],
    ]
    assert summary([row, row]) == "2 BROKEN"
    assert row.as_json()["observations"][0]["ok"] is False


def test_every_row_of_the_catalogue_is_tried_or_said_not_to_be() -> None:
    tried = {attack.number for attack in ATTACKS}
    assert tried | set(NOT_TRIED) == set(ROWS)
    assert not tried & set(NOT_TRIED)


def test_every_attempt_says_in_one_line_what_it_does() -> None:
    assert len({attack.attempt for attack in ATTACKS}) == len(ATTACKS)
    for attack in ATTACKS:
        assert re.fullmatch(r"\S.*\S", attack.attempt.__doc__ or ""), attack
