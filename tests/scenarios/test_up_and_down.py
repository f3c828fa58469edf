"""A pair that is kept up: found by others, stopped from elsewhere or by a signal, nothing left behind."""

import os
import re
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scenarios.pef_command import PEF, environment, pef

pytestmark = [pytest.mark.sockets, pytest.mark.slow]


@contextmanager
def up(runtime: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `pef up` and yield it with what it has told, once it has told all."""
    with subprocess.Popen(
        [PEF, "up", *words], env=environment(runtime), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            reported = ""
            while "Ctrl-C" not in reported:
                line = process.stdout.readline()
                assert line, reported
                reported += line
            yield process, reported
        finally:
            process.terminate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_both_services_and_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """Given a pair that is kept up.

    When its starter is sent a signal,
    then both services end, and nothing of the pair is left.
    """
    with up(tmp_path) as (process, reported):
        services = [Path("/proc") / pid for pid in re.findall(r"process (\d+)", reported)]
        memory = Path(re.findall(r"normal memory (\S+)", reported)[0])
        assert len(services) == 2
        assert memory.stat().st_mode & 0o777 == 0o700
        modes = {file.name[:13]: file.stat().st_mode & 0o777 for file in memory.iterdir()}
        assert modes == {"normal-memory": 0o660, "hypervisor.lo": 0o600, "ultravisor.lo": 0o600}
        assert all(service.exists() for service in services)
        process.send_signal(number)
        assert process.wait(30) == 0
        assert not any(path.exists() for path in (*services, memory))
    assert pef("down", runtime=tmp_path).returncode == 2


def test_services_end_with_whoever_started_them_even_if_that_one_is_killed(tmp_path: Path) -> None:
    """Given a pair that is kept up, when its starter is killed, then both services end."""
    with up(tmp_path, "--normal-memory", "http") as (process, reported):
        services = [os.pidfd_open(int(pid)) for pid in re.findall(r"process (\d+)", reported)]
        process.kill()
        for service in services:
            assert select.select([service], [], [], 30)[0], "a service outlives its starter"
            os.close(service)


def test_others_find_the_pair_and_may_stop_it(tmp_path: Path) -> None:
    """Given a pair that is kept up.

    When other commands are run, `pef down` last,
    then they find the pair, and the last stops it and removes its file.
    """
    with up(tmp_path, "--normal-memory", "http", "--secure-memory", "1GiB") as (process, reported):
        tokens = Path(re.findall(r"kept in (\S+),", reported)[0])
        assert tokens.stat().st_mode & 0o777 == 0o600
        again = pef("up", runtime=tmp_path)
        assert (again.returncode, again.stderr) == (2, "pef: a pair is up already: `pef down` stops it\n")
        script = f'. {tokens} && exec "{PEF}" designs --size 64MiB --touched 2MiB --design tracked'
        ran = subprocess.run(
            ["/bin/sh", "-c", script], capture_output=True, text=True, check=True, timeout=120
        )
        assert ran.stdout.count("✔ ok") == 8
        assert pef("down", runtime=tmp_path).returncode == 0
        assert process.wait(30) == 0
    assert not tokens.exists()


def test_no_token_is_on_a_command_line_or_in_what_is_told(tmp_path: Path) -> None:
    """Given a pair that is kept up, when command lines and output are read, then no token is there."""
    with up(tmp_path) as (process, reported):
        tokens = Path(re.findall(r"kept in (\S+),", reported)[0]).read_text()
        secrets = re.findall(r"(?:TOKEN|KEY)=(\w+)", tokens)
        assert len(secrets) == 4
        pids = [str(process.pid), *re.findall(r"process (\d+)", reported)]
        shown = reported + "".join((Path("/proc") / pid / "cmdline").read_text() for pid in pids)
        assert not [secret for secret in secrets if secret in shown]
