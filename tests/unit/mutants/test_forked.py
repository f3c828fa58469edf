"""Services forked with mutants in them: each is seen over HTTP, in its service alone, and goes with it."""

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from mutants.forked import TESTS, forked
from pef_lab.rows.doors import OBSERVER
from pef_lab.rows.passes import OWN
from pef_lab.rows.subject import Subject
from pef_protocol.quantities import Lpid
from pef_protocol.ultracalls import SvmTerminate

pytestmark = [pytest.mark.verify, pytest.mark.sockets, pytest.mark.slow]

SECURE_MEMORY = 1 << 26
STARTS_ONE_AND_WAITS = """
import sys
from pathlib import Path
from mutants.forked import ForkedService
from pef_lab.starting import ULTRAVISOR_SCRIPT, fresh_endpoints, ultravisor_environment
endpoints = fresh_endpoints()
peer = endpoints.hypervisor_url
told = ultravisor_environment(endpoints, peer_url=peer, normal_memory="", secure_memory=1 << 26)
print(ForkedService(ULTRAVISOR_SCRIPT, told, Path(sys.argv[1])).pid, flush=True)
sys.stdin.read()
"""


async def who_may_terminate() -> str:
    """Tell what an observer is answered that would end a VM."""
    async with OWN[Subject.ULTRAVISOR](20.0) as stage:
        return (await stage.ultravisor.call(OBSERVER, SvmTerminate(Lpid(9)))).code


async def test_a_mutant_is_seen_over_http_and_not_in_the_next_service() -> None:
    with forked("forgets/UV_SVM_TERMINATE/caller"):
        assert await who_may_terminate() == "U_PARAMETER"
    with forked():
        assert await who_may_terminate() == "U_PERMISSION"
    with forked("forgets/UV_SVM_TERMINATE/caller", "uv/wrong-numbers"):
        assert await who_may_terminate() == "U_PARAMETER numbered -5"


def test_it_ends_when_whoever_started_it_is_killed(tmp_path: Path) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTS_ONE_AND_WAITS, str(tmp_path / "log")],
        env=os.environ | {"PYTHONPATH": TESTS},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with starter:
        assert starter.stdout is not None
        service = os.pidfd_open(int(starter.stdout.readline()))
        try:
            starter.kill()
            assert select.select([service], [], [], 60)[0] == [service]
        finally:
            os.close(service)
