"""The file of the pair that is kept up."""

import fcntl
import os
from pathlib import Path

import pytest

from pef_lab import standing
from pef_lab.endpoints import Endpoints
from pef_lab.failures import WrongInput

PAIR = Endpoints("http://u", "http://h", "vmm", "observer", "guest key u", "guest key h")


def test_a_standing_pair_is_found_while_it_stands_and_only_then(tmp_path: Path) -> None:
    path = standing.standing_file({"XDG_RUNTIME_DIR": str(tmp_path)})
    with standing.standing(path) as file:
        standing.write(file, PAIR.environment)
        assert standing.read(path) == {**PAIR.environment, standing.PID: str(os.getpid())}
        assert path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(WrongInput, match="up already"), standing.standing(path):
            pass
    assert not path.exists()


def test_a_file_left_behind_is_no_pair(tmp_path: Path) -> None:
    path = tmp_path / "pair.env"
    path.write_text(f"export {standing.PID}=1\n")
    with pytest.raises(WrongInput, match="no pair is up"):
        standing.read(path)
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_directory_that_others_may_enter_is_not_used(tmp_path: Path) -> None:
    directory = tmp_path / f"pef-{os.getuid()}"
    directory.mkdir()
    directory.chmod(0o755)
    with pytest.raises(WrongInput, match="alone"):
        standing.standing_file({"XDG_RUNTIME_DIR": str(tmp_path)})
