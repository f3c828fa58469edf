"""Finding a pair, and the file of the pair that is kept up."""

import fcntl
import os
from dataclasses import fields
from pathlib import Path

import pytest

from pef_lab import standing
from pef_lab.endpoints import Endpoints, find_endpoints, variable_of
from pef_lab.failures import WrongInput
from pef_lab.watch import Counters, read_counters

PAIR = Endpoints("http://u", "http://h", "vmm", "observer", "guest key u", "guest key h")


def test_a_pair_is_found_by_its_environment(tmp_path: Path) -> None:
    assert find_endpoints(PAIR.environment, tmp_path) == PAIR
    assert find_endpoints({}, tmp_path) is None


def test_arguments_go_before_the_environment_and_that_before_secret_files(tmp_path: Path) -> None:
    for part in fields(PAIR):
        (tmp_path / variable_of(part.name).lower()).write_text(f"file {part.name}\n")
    found = find_endpoints({"PEF_VMM_TOKEN": "environment"}, tmp_path, ultravisor_url="argument")
    assert found == Endpoints(
        "argument",
        "file hypervisor_url",
        "environment",
        "file observer_token",
        "file ultravisor_guest_key",
        "file hypervisor_guest_key",
        "file ultravisor_token",
        "file hypervisor_token",
    )


def test_half_a_pair_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match="PEF_HYPERVISOR_URL, PEF_VMM_TOKEN"):
        find_endpoints({"PEF_ULTRAVISOR_URL": "http://u"}, tmp_path)


def test_who_plays_a_side_needs_other_parts_of_a_pair(tmp_path: Path) -> None:
    needs = frozenset({"ultravisor_url", "hypervisor_token"})
    alone = {"PEF_ULTRAVISOR_URL": "http://u", "PEF_HYPERVISOR_TOKEN": "token"}
    found = find_endpoints(alone, tmp_path, needs)
    assert found == Endpoints("http://u", "", "", "", "", "", hypervisor_token="token")
    assert found.environment == alone
    with pytest.raises(WrongInput, match=r"set PEF_HYPERVISOR_TOKEN$"):
        find_endpoints({"PEF_ULTRAVISOR_URL": "http://u"}, tmp_path, needs)


def test_tokens_are_not_shown() -> None:
    assert "vmm" not in repr(PAIR).replace("vmm_token", "")
    assert "guest key" not in repr(PAIR)


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


def test_counters_are_read_from_the_metrics() -> None:
    exposition = """
# HELP pef_calls_total Calls answered
# TYPE pef_calls_total counter
pef_calls_total{call="UV_ESM",code="U_SUCCESS"} 1.0
pef_calls_total{call="UV_PAGE_IN",code="U_SUCCESS"} 7.0
pef_calls_total{call="H_SVM_PAGE_IN",code="H_PARAMETER"} 3.0
pef_calls_created{call="UV_ESM",code="U_SUCCESS"} 1.7e+09
pef_pages_total{call="UV_PAGE_IN"} 1.6384e+06
pef_bytes_moved_total{way="to normal memory"} 65536.0
pef_bytes_moved_total{way="from normal memory"} 131072.0
pef_call_seconds_count{call="UV_ESM"} 1.0
python_info{version="3.11"} 1.0
"""
    assert read_counters(exposition) == Counters(8, 3, 1638400, 196608)
    assert Counters(8, 3, 9, 9).since(Counters(1, 1, 4, 9)) == Counters(7, 2, 5, 0)
