"""The file of the pair that is kept up."""

import errno
import os
import shlex
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pef_lab import standing
from pef_lab.endpoints import Endpoints
from pef_lab.failures import WrongInput

PAIR = Endpoints("http://u", "http://h", "vmm", "observer", "guest key u", "guest key h")
LOCK = "pair.env.lock"


def test_a_standing_pair_is_found_while_it_stands_and_only_then(tmp_path: Path) -> None:
    path = standing.standing_file({"XDG_RUNTIME_DIR": str(tmp_path)})
    with standing.standing(path):
        standing.write(path, PAIR.environment)
        assert standing.read(path) == {**PAIR.environment, standing.PID: str(os.getpid())}
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with pytest.raises(WrongInput, match="up already"), standing.standing(path):
            pass
    assert [each.name for each in path.parent.iterdir()] == [LOCK]
    with pytest.raises(WrongInput, match="no pair is up"):
        standing.read(path)


def test_a_file_left_behind_is_no_pair_and_makes_way(tmp_path: Path) -> None:
    path = tmp_path / "pair.env"
    path.write_text(f"export {standing.PID}=1\n")
    with pytest.raises(WrongInput, match="no pair is up"):
        standing.take_down(path)
    with standing.standing(path):
        assert not path.exists()


def test_a_pair_that_is_starting_has_no_file_yet(tmp_path: Path) -> None:
    path = tmp_path / "pair.env"
    with standing.standing(path):
        assert not path.exists()
        with pytest.raises(WrongInput, match="starting"):
            standing.take_down(path)


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
@pytest.mark.parametrize("earlier", [None, "of an earlier pair"])
def test_the_file_is_whole_at_each_step_or_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, earlier: str | None
) -> None:
    """Given a disk that fails at some step, when the file is written, then nobody ever reads half of it."""
    path = tmp_path / "pair.env"
    if earlier is not None:
        path.write_text(earlier)

    def seen() -> str | None:
        return path.read_text() if path.exists() else None

    def failing(*_: Any) -> None:
        assert seen() == earlier
        raise OSError(errno.ENOSPC, "No space left on device")

    place: dict[str, tuple[Any, str]] = {
        "write": (shlex, "quote"),
        "fsync": (os, "fsync"),
        "replace": (Path, "replace"),
    }
    monkeypatch.setattr(*place[step], failing)
    with pytest.raises(OSError, match="No space"):
        standing.write(path, PAIR.environment)
    assert seen() == earlier
    assert [each.name for each in tmp_path.iterdir()] == (["pair.env"] if earlier else [])


def test_the_bytes_are_on_the_disk_before_the_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, steps = tmp_path / "pair.env", []

    def noted(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            steps.append(name)
            return original(*arguments)

        return run

    monkeypatch.setattr(os, "fsync", noted("fsync", os.fsync))
    monkeypatch.setattr(Path, "replace", noted("replace", Path.replace))
    standing.write_whole(path, "all of it")
    assert steps == ["fsync", "replace"]
    assert path.read_text() == "all of it"


@pytest.mark.parametrize("left", ["file", "link", "open to all"])
def test_what_an_earlier_writer_left_unfinished_is_replaced(tmp_path: Path, left: str) -> None:
    path, unfinished, other = tmp_path / "pair.env", tmp_path / "pair.env.new", tmp_path / "other"
    if left == "link":
        unfinished.symlink_to(other)
    else:
        unfinished.write_text("half of it")
        unfinished.chmod(0o666 if left == "open to all" else 0o600)
    standing.write_whole(path, "all of it")
    assert path.read_text() == "all of it"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not other.exists()
    assert not unfinished.exists()


@pytest.mark.parametrize("token", ["plain", "with space", "it's", '"', "$HOME", "`id`", "a\\b", "a;b", "#"])
def test_a_shell_reads_each_token_as_it_is(tmp_path: Path, token: str) -> None:
    standing.write(path := tmp_path / "pair.env", {"PEF_VMM_TOKEN": token})
    words = shlex.split(path.read_text())
    assert words[:2] == ["export", f"PEF_VMM_TOKEN={token}"]


def test_the_key_of_the_machine_is_made_once_and_never_half(tmp_path: Path) -> None:
    key = standing.kept_machine_key(tmp_path)
    assert len(key) == 64
    assert standing.kept_machine_key(tmp_path) == key
    file = tmp_path / standing.MACHINE_KEY
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_text("")
    assert len(standing.kept_machine_key(tmp_path)) == 64


def test_a_directory_that_others_may_enter_is_not_used(tmp_path: Path) -> None:
    directory = tmp_path / f"pef-{os.getuid()}"
    directory.mkdir()
    directory.chmod(0o755)
    with pytest.raises(WrongInput, match="alone"):
        standing.standing_file({"XDG_RUNTIME_DIR": str(tmp_path)})
