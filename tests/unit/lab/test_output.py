"""What an encoding does not have is written in other signs; a file that can't be written is one line."""

import sys
from pathlib import Path

import pytest

from pef_lab.failures import OperatorFault, WrongInput
from pef_lab.output import OTHER_SIGNS, must_be_writable, prepare_streams, write_file


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437", "utf-8"])
def test_every_sign_can_be_written_and_takes_one_place(encoding: str) -> None:
    signs = "✔✘▲│┃─━▸◂→←·…┏┓é字"
    written = signs.encode(encoding, OTHER_SIGNS).decode(encoding)
    assert len(written) == len(signs)
    assert "?" not in written


def test_what_can_not_be_decoded_is_no_matter_of_signs() -> None:
    with pytest.raises(UnicodeDecodeError):
        b"\xff".decode("ascii", OTHER_SIGNS)


def test_a_command_without_standard_output_begins_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(OperatorFault, match="standard output is closed"):
        prepare_streams()


def test_a_command_without_standard_error_says_nothing_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    prepare_streams()
    with sys.stderr:
        assert sys.stderr.write("lost") == len("lost")


def test_a_file_is_written_or_one_line_says_why_not(tmp_path: Path) -> None:
    write_file(file := tmp_path / "result", ["✔ ", "\udc80"])
    assert file.read_text(encoding="utf-8") == "✔ \\udc80"
    must_be_writable(file)
    assert file.read_text(encoding="utf-8") == "✔ \\udc80"
    for broken in (tmp_path, tmp_path / "no" / "file"):
        with pytest.raises(WrongInput, match="directory"):
            must_be_writable(broken)
        with pytest.raises(OperatorFault, match="directory"):
            write_file(broken, ["x"])
