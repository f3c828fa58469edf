"""The console in a container of its own, beside a pair: reached on loopback, and without any token."""

import re
import subprocess
from collections.abc import Iterator

import httpx
import pytest

from compose.containers import Project, compose_command, ran
from pef_lab.ports import free_ports


@pytest.fixture
def url(pair: Project) -> Iterator[str]:
    """Have the console up; give the URL that it prints."""
    (port,) = free_ports(1)
    variables = {**pair.variables, "PEF_CONSOLE_PORT": str(port)}
    command = (*compose_command(), "--profile", "console")
    try:
        started = ran(*command, "up", "--detach", "--build", "--no-deps", "console", **variables)
        assert started.returncode == 0, started.stderr
        yield printed_url(pair)
    finally:
        ran(*command, "rm", "--stop", "--force", "console", **variables)


def printed_url(pair: Project) -> str:
    """Return the URL that the console prints once it listens."""
    command = ("docker", "logs", "--follow", pair.container("console"))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as printing:
        assert printing.stdout is not None
        for line in printing.stdout:
            if found := re.search(r"http://\S+#secret=\S+", line):
                printing.terminate()
                return found[0]
    raise AssertionError("the console has ended and printed no URL")


def test_a_session_of_the_model_is_stepped_from_this_machine(pair: Project, url: str) -> None:
    """Given the console beside a pair.

    When somebody of this machine opens the printed URL, opens a counterexample and goes to its end,
    then the frame says what is broken, and no token of the pair is in the container.
    """
    page, _, secret = url.partition("#secret=")
    with httpx.Client(base_url=page) as browser:
        assert browser.get("/").headers["content-type"].startswith("text/html")
        assert browser.get("/api/v1/designs").status_code == 401
        assert browser.post("/api/v1/enter", json={"secret": secret}).is_success
        opened = browser.post("/api/v1/sessions", json={"file": "broken-the-tables-agree"}).json()
        end = browser.post(f"/api/v1/sessions/{opened['id']}/run", json={"until": "end", "if_at": 0}).json()
    broken = [each["invariant"] for each in end["verdicts"] if not each["holds"]]
    assert broken == ["the_tables_agree"]
    console = pair.inspected("console")
    assert not [each for each in console["Mounts"] if "pef_" in each["Destination"]]
    assert not [name for name, token in pair.tokens.items() if token in str(console)]
