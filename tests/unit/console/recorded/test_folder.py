"""The files of a folder: those that are ours, by name, and no others."""

from pathlib import Path

import pytest

from pef_console.recorded.folder import MOST_OCTETS, TREE, Folder, default_folder, text_of
from pef_lab.failures import WrongInput

FOUND = TREE / "broken-the-tables-agree.json"


def test_the_committed_counterexamples_are_listed() -> None:
    folder = Folder(default_folder())
    names = {path.relative_to(TREE).with_suffix("").as_posix() for path in TREE.rglob("*.json")}
    assert {each["name"] for each in folder.listed} == names
    listed = next(each for each in folder.listed if each["name"] == FOUND.stem)
    assert listed == {
        "name": FOUND.stem,
        "title": "broken: the tables agree",
        "kind": "counterexample",
        "design": "broken",
        "invariant": "the_tables_agree",
    }
    assert next(each for each in folder.listed if each["name"] == "mutants/K1")["design"] == "K1"
    assert folder.read(FOUND.stem) == FOUND.read_text(encoding="utf-8")


def test_what_is_not_ours_is_not_listed(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "mine.json").write_bytes(FOUND.read_bytes())
    (tmp_path / "other.json").write_text("{}")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe")
    (tmp_path / "mine.txt").write_bytes(FOUND.read_bytes())
    with (tmp_path / "long.json").open("wb") as file:
        file.truncate(MOST_OCTETS + 1)
    folder = Folder(tmp_path)
    assert [each["name"] for each in folder.listed] == ["below/mine"]
    for name in ("other", "mine", "../below/mine", "below/mine.json", str(tmp_path / "below/mine")):
        with pytest.raises(WrongInput, match="there is no file"):
            folder.read(name)


def test_without_a_folder_there_is_nothing(tmp_path: Path) -> None:
    assert Folder(None).listed == []
    with pytest.raises(WrongInput, match="is no directory"):
        Folder(tmp_path / "nowhere")


def test_a_file_that_can_not_be_read_is_one_line(tmp_path: Path) -> None:
    with (tmp_path / "long").open("wb") as file:
        file.truncate(100 << 20)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name, reason in [
        ("long", "too long: 104,857,600 octets, where at most 8,388,608 are read"),
        ("binary", "not a text file"),
        ("nowhere", "no such file or directory"),
        ("", "is a directory"),
    ]:
        with pytest.raises(WrongInput, match=reason):
            text_of(tmp_path / name)
