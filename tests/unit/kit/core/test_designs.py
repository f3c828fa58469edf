"""Rows of designs from outside: read only where they are named, and only the row of one part."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Final

import pytest

from pef_kit.core.designs import NAMED_BY, UnknownDesign, load_rows, names_in, registered, require_registered
from pef_protocol.designs import DesignName

MODULE: Final = """
    from pef_protocol.designs import DesignName
    from unit.kit.core.test_designs import PartRow

    class patient:
        some = PartRow(DesignName("patient"), 1)
        @property
        def other(self):
            raise AssertionError("the row of another part was read")

    class unlike_its_name:
        some = PartRow(DesignName("another"), 2)

    class of_another_part:
        other = PartRow(DesignName("of-another-part"), 3)

    class of_another_kind:
        some = "of-another-kind"

    class built_in:
        some = PartRow(DesignName("built-in"), 4)

    instance = patient()
"""
ENTRIES: Final = """
    [pef.designs]
    patient = outside_rows:instance
    unlike-its-name = outside_rows:unlike_its_name
    of-another-part = outside_rows:of_another_part
    of-another-kind = outside_rows:of_another_kind
    built-in = outside_rows:built_in
"""


@dataclass(frozen=True, slots=True)
class PartRow:
    name: DesignName
    setting: int = 0


BUILT_IN: Final = (PartRow(DesignName("built-in")),)


@pytest.fixture(autouse=True)
def _outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give a distribution that was never installed, but lies on the path."""
    described = tmp_path / "outside_rows-1.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: outside-rows\nVersion: 1\n")
    (described / "entry_points.txt").write_text(dedent(ENTRIES))
    (tmp_path / "outside_rows.py").write_text(dedent(MODULE).replace("unit.kit.core.test_designs", __name__))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv(NAMED_BY, raising=False)
    yield
    sys.modules.pop("outside_rows", None)


def test_what_nobody_names_is_not_read() -> None:
    assert registered(BUILT_IN, "some", PartRow) == {"built-in": BUILT_IN[0]}
    assert "outside_rows" not in sys.modules


def test_what_the_environment_names_is_read_of_one_part_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAMED_BY, " patient ,patient,")
    rows = registered(BUILT_IN, "some", PartRow)
    assert [*rows] == ["built-in", "patient"]
    assert rows["patient"].setting == 1


@pytest.mark.parametrize("name", ["nobodys", "unlike-its-name", "of-another-part", "of-another-kind"])
def test_a_name_without_a_row_of_this_part_is_an_error(name: str) -> None:
    said = f"PEF_DESIGNS names {name}: no entry point of pef.designs gives a some row of that name"
    with pytest.raises(UnknownDesign, match=said):
        load_rows("some", PartRow, [name])


def test_no_design_from_outside_stands_in_for_another_one() -> None:
    with pytest.raises(UnknownDesign, match="PEF_DESIGNS names built-in: there is a design of that name"):
        registered(BUILT_IN, "some", PartRow, "built-in")


def test_names_are_separated_by_commas() -> None:
    assert names_in("") == names_in(" , ") == []
    assert names_in("one, two,one") == ["one", "two"]


@pytest.mark.parametrize("name", ["nobodys", "", None, 7, ["built-in"]])
def test_an_unknown_name_is_answered_with_all_names(name: object) -> None:
    rows = registered(BUILT_IN, "some", PartRow, "patient")
    assert require_registered(rows, "patient") == "patient"
    with pytest.raises(UnknownDesign, match=r"^no such design; there are built-in, patient$"):
        require_registered(rows, name)
