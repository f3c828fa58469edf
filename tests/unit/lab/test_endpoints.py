"""Finding a pair, and the file of the pair that is kept up."""

from dataclasses import fields
from pathlib import Path

import pytest

from pef_lab.endpoints import Endpoints, find_endpoints, variable_of
from pef_lab.failures import WrongInput

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
