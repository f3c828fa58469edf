"""The list of designs that a Hypervisor may have: by default all that are registered."""

import json
import re
from typing import Final

import pytest
from pydantic import ValidationError

from pef_protocol.designs import Design
from pef_ultravisor.app import UltravisorSettings

NEEDED: Final = {
    "PEF_PEER_URL": "http://127.0.0.1:1",
    **{f"PEF_{name}": name * 8 for name in ("HYPERVISOR_TOKEN", "ULTRAVISOR_TOKEN", "OBSERVER_TOKEN")},
    "PEF_GUEST_KEY": "guest key " * 4,
}


@pytest.fixture(autouse=True)
def _needed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, setting in NEEDED.items():
        monkeypatch.setenv(name, setting)


def test_all_registered_designs_are_allowed_unless_some_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert UltravisorSettings().allowed_designs == frozenset(Design)
    monkeypatch.setenv("PEF_ALLOWED_DESIGNS", json.dumps(["tracked", "pushed"]))
    assert UltravisorSettings().allowed_designs == {Design.TRACKED, Design.PUSHED}


def test_a_design_that_is_not_registered_can_not_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEF_ALLOWED_DESIGNS", json.dumps(["tracked", "nobodys"]))
    with pytest.raises(ValidationError, match=re.escape("no such design; there are eager, broken, tracked")):
        UltravisorSettings()


def test_the_variable_that_names_designs_from_outside_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEF_DESIGNS", "one,two")
    assert UltravisorSettings().allowed_designs == frozenset(Design)
