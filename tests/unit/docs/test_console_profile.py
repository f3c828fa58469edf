"""The profile `console` of the compose file, checked as a file only: its port, its networks, no token."""

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
CONSOLE: Final = SERVICES["console"]
PORT: Final = "${PEF_CONSOLE_PORT:-8003}"


def test_it_starts_only_by_its_profile() -> None:
    assert CONSOLE["profiles"] == ["console"]
    assert not [name for name, of in SERVICES.items() if "console" in of.get("depends_on", ())]


def test_it_is_published_on_loopback_alone_and_answers_there() -> None:
    assert CONSOLE["ports"] == [f"127.0.0.1:{PORT}:8003"]
    words = {word for word in CONSOLE["command"] if word.startswith("--")}
    assert {"--port=8003", "--bind=0.0.0.0", f"--published=127.0.0.1:{PORT}"} <= words


def test_it_is_where_guests_and_the_vmm_are_and_not_on_the_wire() -> None:
    assert set(CONSOLE["networks"]) == {"guests", "vmm", "outside"}


def test_it_has_no_token_and_no_volume_and_is_contained() -> None:
    assert not {"secrets", "volumes"} & CONSOLE.keys()
    assert not [name for name in CONSOLE["environment"] if "TOKEN" in name or "KEY" in name]
    contained = COMPOSE["x-contained"]
    assert {name: CONSOLE[name] for name in contained} == contained
    assert CONSOLE["user"] == "10003:10003"


def test_it_is_an_image_of_its_own() -> None:
    """The lab's image has no line of either service: this one needs both."""
    stages = re.findall(
        r"^FROM (\S+)(?: AS (\S+))?$", (ROOT / "lab" / "Dockerfile").read_text(), re.MULTILINE
    )
    assert (CONSOLE["image"], CONSOLE["build"]["target"]) == ("pef-console", "console")
    assert [name for _, name in stages if name == "console"] == ["console"]
    assert stages[-1] == ("runtime", "")
    others = [of for name, of in SERVICES.items() if name != "console" and of.get("image") == "pef-lab"]
    assert others
    assert not [of for of in others if "target" in of["build"]]


def test_make_down_knows_every_profile_that_make_starts() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    started = {*re.findall(r"--profile ([a-z-]+)", makefile), *re.findall(r"\bcompose-(\w+):", makefile)} - {
        "test"
    }
    (known,) = re.findall(r"^profiles := (.*)$", makefile, re.MULTILINE)
    assert started
    assert started <= set(known.split())
    assert "$(profiles:%=--profile %) down" in makefile


@pytest.mark.skipif(not shutil.which("docker-compose"), reason="no docker-compose here")
def test_compose_accepts_the_profile() -> None:
    command = ["docker-compose", "--profile", "console", "config", "--services"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert "console" in ran.stdout.split(), ran.stderr
