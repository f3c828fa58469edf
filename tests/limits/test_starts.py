"""A service that may not start, as a process: its lines, its exit status, and nothing on its output."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from limits.services import SCRIPTS

SETTINGS = {
    "PEF_PEER_URL": "http://127.0.0.1:9",
    **{
        f"PEF_{name}": f"canary of nobody {name}".replace(" ", "-")
        for name in ("ULTRAVISOR_TOKEN", "HYPERVISOR_TOKEN", "OBSERVER_TOKEN", "VMM_TOKEN", "GUEST_KEY")
    },
}


def ended(side: str, *arguments: str, **settings: str) -> tuple[int, str, list[str]]:
    """Run the service of `side` and return exit status, output and the lines of standard error."""
    done = subprocess.run(
        [Path(sys.executable).with_name(SCRIPTS[side]), *arguments],
        env=SETTINGS | settings,
        capture_output=True,
        encoding="utf-8",
        timeout=30,
        check=False,
    )
    assert "canary" not in done.stdout + done.stderr
    return done.returncode, done.stdout, done.stderr.splitlines()


@pytest.mark.parametrize("side", SCRIPTS)
def test_a_port_that_is_in_use_is_one_line_and_exit_status_2(side: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = f"can't listen at 127.0.0.1 port {port}: address already in use; set PEF_HOST or PEF_PORT"
        assert ended(side, PEF_PORT=str(port)) == (2, "", [line])


@pytest.mark.parametrize("side", SCRIPTS)
def test_each_wrong_setting_is_one_line_and_exit_status_2(side: str) -> None:
    status, output, lines = ended(side, PEF_PORT="canary", PEF_PEER_URL="canary")
    assert (status, output) == (2, "")
    assert [line.split(":")[0] for line in lines] == ["PEF_PORT", "PEF_PEER_URL"]


@pytest.mark.parametrize("side", SCRIPTS)
def test_help_is_listed_without_any_setting(side: str) -> None:
    status, output, lines = ended(side, "--help", PEF_PEER_URL="", PEF_GUEST_KEY="")
    assert (status, lines) == (0, [])
    assert "PEF_PEER_URL  (must be set)" in output
