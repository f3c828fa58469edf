"""`pef --version` says the version, and the commit only where it is this project's."""

import subprocess
from pathlib import Path

import pytest

from pef_lab import version
from pef_lab.cli import app


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "x"]):
        who = ["-c", "user.name=x", "-c", "user.email=x@x"]
        subprocess.run(["git", "-C", tmp_path, *who, *words], check=True)  # noqa: S607
    (tmp_path / "installed.py").touch()
    return tmp_path


def test_a_commit_of_another_repository_is_not_ours(repository: Path) -> None:
    assert version.commit(repository / "installed.py") == version.UNKNOWN
    subprocess.run(["git", "-C", repository, "add", "installed.py"], check=True)  # noqa: S607
    assert len(version.commit(repository / "installed.py")) >= 7


def test_no_repository_is_no_commit(tmp_path: Path) -> None:
    assert version.commit(tmp_path / "installed.py") == version.UNKNOWN


def test_without_git_no_commit_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert version.commit() == version.UNKNOWN


@pytest.mark.parametrize(("known", "says"), [("unknown", ""), ("abc1234", " (commit abc1234)")])
def test_the_line_has_the_commit_where_it_is_known(
    known: str, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(version, "commit", lambda: known)
    assert app.run(["--version"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("pef ")
    assert out.endswith(f"{says}\n")
