"""The profile `console-wire` of the compose file, checked as a file only: its networks and its tokens."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

ROOT: Final = Path(__file__).parents[3]
COMPOSE: Final[Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: Final = COMPOSE["services"]
WIRE: Final = SERVICES["console-wire"]
MAKEFILE: Final = (ROOT / "Makefile").read_text(encoding="utf-8")


def test_it_starts_only_by_its_profile() -> None:
    assert WIRE["profiles"] == ["console-wire"]
    assert not [name for name, of in SERVICES.items() if "console-wire" in of.get("depends_on", ())]


def test_it_is_the_console_with_a_wire_and_tokens() -> None:
    console = SERVICES["console"]
    own = {"profiles", "command", "networks", "secrets"}
    assert {name: of for name, of in WIRE.items() if name not in own} == {
        name: of for name, of in console.items() if name not in own
    }
    assert set(console["command"]) < set(WIRE["command"])
    assert set(WIRE["networks"]) == {*console["networks"], "visors"}


def test_it_stands_where_make_tells_each_side_to_call_the_other() -> None:
    (alias,) = WIRE["networks"]["visors"]["aliases"]
    for side, peers in (("ULTRAVISOR", "HYPERVISORS"), ("HYPERVISOR", "ULTRAVISORS")):
        (port,) = (word.rpartition("=")[2] for word in WIRE["command"] if f"--between-{side.lower()}" in word)
        assert f"compose-console-wire: export PEF_{peers}_PEER := http://{alias}:{port}\n" in MAKEFILE


def test_it_has_the_roles_tokens_and_neither_sides_own() -> None:
    assert set(WIRE["secrets"]) == {
        "pef_vmm_token",
        "pef_observer_token",
        "pef_ultravisor_guest_key",
        "pef_hypervisor_guest_key",
    }
    assert not re.search("token|_key", " ".join(WIRE["command"]))


@pytest.mark.skipif(not shutil.which("docker-compose"), reason="no docker-compose here")
def test_compose_accepts_the_profile() -> None:
    command = ["docker-compose", "--profile", "console-wire", "config", "--services"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert "console-wire" in ran.stdout.split(), ran.stderr
