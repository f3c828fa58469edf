"""The profile `jaeger` of the compose file, checked as a file only: where its ports are, who is beside it."""

import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

ROOT: Final = Path(__file__).parents[3]
COMPOSE: Final[Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: Final = COMPOSE["services"]


def test_jaeger_starts_only_by_its_profile() -> None:
    assert SERVICES["jaeger"]["profiles"] == ["jaeger"]
    assert not [name for name, of in SERVICES.items() if "jaeger" in of.get("depends_on", ())]


def test_only_the_two_services_are_beside_it() -> None:
    beside = {name for name, of in SERVICES.items() if "telemetry" in of.get("networks", ())}
    assert beside == {"ultravisor", "hypervisor", "jaeger"}
    assert SERVICES["jaeger"]["networks"].keys() == {"telemetry", "outside"}
    assert COMPOSE["networks"]["telemetry"] == {"internal": True}


def test_it_publishes_its_page_on_loopback_and_has_no_secret() -> None:
    assert SERVICES["jaeger"]["ports"] == ["127.0.0.1:${PEF_JAEGER_PORT-16686}:16686"]
    assert not {"secrets", "volumes"} & SERVICES["jaeger"].keys()


@pytest.mark.parametrize("side", ["ultravisor", "hypervisor"])
def test_spans_are_off_unless_a_setting_asks(side: str) -> None:
    assert SERVICES[side]["environment"]["PEF_OTLP_ENDPOINT"] == "${PEF_OTLP_ENDPOINT:-}"


@pytest.mark.skipif(not shutil.which("docker-compose"), reason="no docker-compose here")
def test_compose_accepts_the_profile() -> None:
    command = ["docker-compose", "--profile", "jaeger", "config", "--services"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert "jaeger" in ran.stdout.split(), ran.stderr
