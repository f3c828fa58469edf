"""The files of a guest image."""

from pathlib import Path

import pytest

from harness.built_image import IMAGE
from pef_lab.image import load, save


def test_is_the_same_after_save_and_load(tmp_path: Path) -> None:
    save(IMAGE, tmp_path / "new" / "image")
    assert load(tmp_path / "new" / "image") == IMAGE


def test_loads_no_other_format(tmp_path: Path) -> None:
    save(IMAGE, tmp_path)
    (tmp_path / "image.json").write_text('{"format": 2}', encoding="utf-8")
    with pytest.raises(ValueError, match="not format 1"):
        load(tmp_path)
    (tmp_path / "image.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ValueError, match="not format 1"):
        load(tmp_path)
