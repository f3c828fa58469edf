"""The pair in containers, as whoever runs them sees it: by `make`, the compose command, and the engine."""

import json
import os
import subprocess
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

from pef_lab.endpoints import Endpoints

ROOT: Final = Path(__file__).parents[2]
TIMEOUT: Final = 300
"""Seconds that any one command may take; building an image takes longest."""
SIDES: Final = {"ultravisor": 8001, "hypervisor": 8002}
"""Each side's service and port."""
LEAVINGS: Final = (("container", "ls", "--all"), ("network", "ls"), ("volume", "ls"))
"""What a project may leave behind, as the engine lists it."""


def ran(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command at the root of the repository, and return what came of it."""
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def output_of(*command: str, **variables: str) -> str:
    """Run a command and return what it prints; fail with its last words where it fails."""
    done = ran(*command, **variables)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@cache
def compose_command() -> tuple[str, ...]:
    """Return the compose command of this machine: the plugin where there is one."""
    plugin = ran("docker", "compose", "version").returncode == 0
    return ("docker", "compose") if plugin else ("docker-compose",)


def inside(image: str, program: str, *options: str) -> str:
    """Run a Python program in a new container of an image and return what it prints."""
    words = ("docker", "run", "--rm", *options, "--entrypoint", "python", image, "-c", program)
    return output_of(*words)


@dataclass(frozen=True)
class Project:
    """One project of the compose file: a pair with networks, volumes and tokens of its own."""

    name: str
    secrets: Path
    files: tuple[str, ...] = ("docker-compose.yml",)
    tokens: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def reports(self) -> Path:
        """Return where what was run against it writes its reports."""
        return self.secrets.parent / "reports"

    @property
    def variables(self) -> dict[str, str]:
        """Return the environment of its commands; any free port will do, so it disturbs no other pair."""
        return {
            "COMPOSE_PROJECT_NAME": self.name,
            "COMPOSE_FILE": ":".join(self.files),
            "PEF_SECRETS": str(self.secrets),
            "PEF_ULTRAVISOR_PORT": "",
            "PEF_HYPERVISOR_PORT": "",
            "PEF_REPORTS": str(self.reports),
        }

    def make(self, target: str) -> subprocess.CompletedProcess[str]:
        """Run a target of the Makefile."""
        return ran("make", "-s", target, **self.variables)

    def compose(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the compose command."""
        return ran(*compose_command(), *words, **self.variables)

    def up(self) -> str:
        """Have the pair up and healthy; return what `make up` tells."""
        done = self.make("up")
        assert done.returncode == 0, done.stdout + done.stderr
        self.tokens.update({file.name: file.read_text() for file in self.secrets.iterdir()})
        return done.stdout

    def container(self, side: str) -> str:
        """Return the id of a side's container, running or not."""
        ids = self.listed("container", "ls", "--all", f"--filter=label=com.docker.compose.service={side}")
        assert len(ids) == 1, ids
        return ids[0]

    def inspected(self, side: str) -> dict[str, Any]:
        """Return what the engine knows of a side's container."""
        found: dict[str, Any] = json.loads(output_of("docker", "inspect", self.container(side)))[0]
        return found

    def python(self, side: str, program: str, *words: str) -> str:
        """Run a Python program in a side's container, as its own user, and return what it prints."""
        return output_of("docker", "exec", self.container(side), "python", "-c", program, *words)

    def logs(self, side: str) -> str:
        """Return all that a side has printed."""
        done = ran("docker", "logs", self.container(side))
        return done.stdout + done.stderr

    def url(self, side: str) -> str:
        """Return where a side is reached from this machine, now: another start, another port."""
        done = self.compose("port", side, str(SIDES[side]))
        assert done.returncode == 0, done.stderr
        return f"http://{done.stdout.strip()}"

    def endpoints(self) -> Endpoints:
        """Return what the outside world needs to speak to the pair."""
        return Endpoints(
            self.url("ultravisor"),
            self.url("hypervisor"),
            self.tokens["pef_vmm_token"],
            self.tokens["pef_observer_token"],
            self.tokens["pef_ultravisor_guest_key"],
            self.tokens["pef_hypervisor_guest_key"],
        )

    def listed(self, *words: str) -> list[str]:
        """Return the ids that the engine lists of this project."""
        return output_of(
            "docker", *words, "--quiet", f"--filter=label=com.docker.compose.project={self.name}"
        ).split()

    def left(self) -> list[str]:
        """Return whatever there is of this project: containers, networks, volumes."""
        return [each for words in LEAVINGS for each in self.listed(*words)]
