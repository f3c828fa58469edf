"""What is made of verdicts: kills, survivors, empty rows, and lists that explain them and must stay true."""

from collections.abc import Iterable

import pytest

from conformance.grid import Grid
from conformance.judging import SOUND, Judged, Others, Trial, Wanted
from conformance.likely import LIKELY
from conformance.matrix import SoFar
from pef_lab.rows.catalogue import all_rows
from pef_lab.rows.row import Verdict
from pef_lab.rows.subject import Subject
from pef_mutants.all_mutants import ALL_MUTANTS

HERE = Subject.ULTRAVISOR
P, F = Verdict.PASS, Verdict.FAIL


def judged(mutant: str, **verdicts: Verdict) -> Judged:
    seen = {row: verdict.value for row, verdict in verdicts.items() if verdict is not P}
    return Judged(Trial(mutant, HERE), verdicts, seen)


def grid(*trials: Judged, survivors: Iterable[str] = (), empty: Iterable[str] = ()) -> Grid:
    return Grid(trials, dict.fromkeys(survivors, "for a reason"), dict.fromkeys(empty, "for a reason"))


def test_a_row_that_passes_without_the_mutant_and_fails_with_it_kills_it() -> None:
    found = grid(judged(SOUND, one=P, two=P), judged("M", one=F, two=P), judged("N", two=F))
    assert found.kills == {"M": {"one"}, "N": {"two"}}
    assert list(found.wrongs()) == []


@pytest.mark.parametrize("verdict", [P, Verdict.ERROR, Verdict.INCONCLUSIVE])
def test_whatever_is_no_failure_kills_nothing(verdict: Verdict) -> None:
    found = grid(judged(SOUND, one=P), judged("M", one=verdict))
    assert found.alive == {"M"}
    assert found.idle == {"one"}
    assert list(found.wrongs()) == [
        "mutant M is killed by no row, and nobody says why",
        "row one kills no mutant, and nobody says why",
    ]


def test_a_row_that_fails_without_a_mutant_kills_nothing_and_is_told() -> None:
    found = grid(judged(SOUND, one=F), judged("M", one=F), survivors=["M"], empty=["one"])
    assert found.alive == {"M"}
    assert list(found.wrongs()) == ["row one does not pass where there is no mutant: fail"]


def test_a_row_that_is_unclear_without_a_mutant_may_be_explained() -> None:
    sound = judged(SOUND, one=P, two=Verdict.INCONCLUSIVE)
    killed = judged("M", one=F)
    assert list(grid(sound, killed, empty=["two"]).wrongs()) == []
    assert list(grid(sound, killed).wrongs()) == [
        "row two does not pass where there is no mutant: inconclusive",
        "row two kills no mutant, and nobody says why",
    ]


def test_who_is_explained_must_survive_and_be_empty() -> None:
    sound, killed = judged(SOUND, one=P, two=P), judged("M/a", one=F, two=P)
    told = grid(sound, killed, judged("N", two=P), survivors=["M/*", "N"], empty=["one", "two"])
    assert list(told.wrongs()) == [
        "mutant M/a does not: the list says that it survives",
        "no mutant that survives fits M/*: the list is out of date",
        "row one does not: the list says that it kills nothing",
        "no row that kills nothing fits one: the list is out of date",
    ]


def test_a_mutant_is_killed_by_the_rows_of_any_subject() -> None:
    elsewhere = Judged(Trial("M", Subject.PAIR), {"two": F}, {})
    found = grid(judged(SOUND, one=P, two=P), judged("M", one=F), elsewhere)
    assert found.kills == {"M": {"one", "two"}}


def test_a_trial_that_could_not_be_held_is_told() -> None:
    lost = Judged(Trial("M", HERE), failure="it ended")
    assert "trial M ultravisor could not be held: it ended" in list(grid(lost).wrongs())


def test_a_mutant_of_a_family_is_judged_by_all_rows_about_its_place() -> None:
    trial = Trial("forgets/UV_PAGE_IN/order", HERE)
    assert SoFar().wanted(trial) == Wanted()
    (rows,) = Wanted().turns(trial.rows)
    assert rows == list(trial.rows)
    assert all("order" in row.id for row in rows)
    assert rows


def test_of_any_other_what_killed_nothing_comes_first_then_what_is_likely_then_the_rest() -> None:
    trial, so_far = Trial("uv/same-iv", HERE), SoFar()
    names = [row.id for row in trial.rows]
    so_far.note(judged(SOUND, **dict.fromkeys(names, P)))
    so_far.note(judged("D7", **dict.fromkeys(names[3:], F)))
    wanted = so_far.wanted(trial)
    turns = list(wanted.turns(trial.rows))
    assert [row.id for row in turns[0]] == names[:3]
    likely = LIKELY[trial.mutant]
    assert [row.id for row in turns[1]] == [likely]
    assert [row.id for rows in turns[2:] for row in rows] == [each for each in names[3:] if each != likely]
    assert max(len(rows) for rows in turns) < len(names)


def test_what_is_likely_is_told_of_mutants_that_there_are_and_rows_of_theirs() -> None:
    rows = {row.id for row in all_rows()}
    assert LIKELY.keys() <= ALL_MUTANTS.keys()
    assert set(LIKELY.values()) <= rows


def test_of_one_that_was_killed_already_only_what_killed_nothing_is_wanted() -> None:
    trial, so_far = Trial("D7", HERE), SoFar()
    names = [row.id for row in trial.rows]
    so_far.note(judged(SOUND, **dict.fromkeys(names, P)))
    so_far.note(judged("D7", **dict.fromkeys(names[3:], F)))
    assert so_far.wanted(trial).others is Others.NONE
    assert [row.id for rows in so_far.wanted(trial).turns(trial.rows) for row in rows] == names[:3]


def test_rows_that_wait_judge_only_their_cells() -> None:
    patient = {row.id for row in all_rows() if row.patient}
    assert patient
    assert not patient & {row.id for row in Trial("D8", HERE).rows}
    assert {row.id for row in Trial("cell/HV_SHARING/SHARE", HERE).rows} <= patient
