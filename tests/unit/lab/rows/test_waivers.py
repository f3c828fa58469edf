"""A waiver counts for failing rows that it names, until its date; one that does nothing is said."""

from datetime import date
from pathlib import Path

import pytest

from harness.fake_subject import played
from pef_lab.failures import WrongInput
from pef_lab.rows.row import Verdict
from pef_lab.rows.waivers import Waiver, read_waivers, said_of, waived

TODAY = date(2026, 11, 23)
GOOD = """
[[waiver]]
id = "uv/fake/*"
owner = "Ann"
reason = "the document is being mended"
expires = 2026-11-23
"""
WAIVER = Waiver("uv/fake/*", "Ann", "the document is being mended", TODAY)


def test_a_file_of_waivers_is_read(tmp_path: Path) -> None:
    file = tmp_path / "waivers.toml"
    file.write_text(GOOD)
    assert read_waivers(file) == (WAIVER,)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("waiver = 1", r"a list of \[\[waiver\]\]"),
        ("", r"a list of \[\[waiver\]\]"),
        (GOOD + "\n[other]\n", r"a list of \[\[waiver\]\]"),
        ("[[waiver]", "not TOML"),
        ("\udcff", "not TOML"),
        (GOOD.replace("owner", "owners"), "waiver 1: has to have id, owner, reason, expires"),
        (GOOD.replace('"Ann"', '" "'), "waiver 1: owner: a text"),
        (GOOD.replace('"Ann"', "7"), "waiver 1: owner: a text"),
        (GOOD.replace("2026-11-23", '"2026-11-23"'), "waiver 1: expires: a date"),
        (GOOD.replace("2026-11-23", "2026-11-23T10:00:00"), "waiver 1: expires: a date"),
        (GOOD.replace("2026-11-23", "2026-11-33"), "not TOML"),
    ],
)
def test_what_is_no_waiver_is_one_line(content: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "waivers.toml"
    file.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(WrongInput, match=says) as raised:
        read_waivers(file)
    assert str(raised.value).startswith(f"--waive: {file}")
    assert "\n" not in str(raised.value)


def test_no_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match="No such file"):
        read_waivers(tmp_path / "none")


def test_a_failing_row_is_waived_through_the_last_day_and_no_longer() -> None:
    failing = played("one", Verdict.FAIL)
    got = waived(failing, [WAIVER], TODAY)
    assert got.verdict is Verdict.WAIVED
    assert got.cause == "waived by Ann until 2026-11-23: the document is being mended"
    assert got.finding == failing.finding
    assert waived(failing, [WAIVER], date(2026, 11, 24)) == failing
    assert waived(failing, [Waiver("uv/other/*", "Ann", "why", TODAY)], TODAY) == failing


@pytest.mark.parametrize("verdict", sorted(set(Verdict) - {Verdict.FAIL}))
def test_only_a_failure_is_waived(verdict: Verdict) -> None:
    assert waived(played("one", verdict), [WAIVER], TODAY).verdict is verdict


def test_a_waiver_that_does_nothing_is_said() -> None:
    good, failing = played("one", Verdict.PASS), played("two", Verdict.FAIL)
    rows = [good.row, failing.row, played("not played", Verdict.SKIPPED).row]
    waivers = [
        Waiver("uv/fake/two", "Ann", "why", TODAY),
        Waiver("uv/fake/not*", "Ann", "why", TODAY),
        Waiver("uv/fake/one", "Bob", "why", TODAY),
        Waiver("uv/fake/two", "Cay", "why", date(2026, 11, 22)),
        Waiver("uv/nothing", "Dan", "why", TODAY),
    ]
    assert said_of(waivers, [good, failing], rows, TODAY) == [
        "the waiver of uv/fake/one by Bob waives nothing: no row of it fails",
        "the waiver of uv/fake/two by Cay expired on 2026-11-22",
        "the waiver of uv/nothing by Dan names no row",
    ]
