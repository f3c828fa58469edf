"""`pef token guest`; and what `pef up` keeps and writes: machine key, ports, the tokens of the visors."""

import os
import re
import subprocess
from pathlib import Path

import httpx
import pytest

from pef_lab import standing
from pef_lab.ports import free_ports
from scenarios.pef_command import PEF, environment, pef
from scenarios.test_up_and_down import up

pytestmark = [pytest.mark.sockets, pytest.mark.slow]
VM = {"design": "tracked", "secure_guest": True, "radix": True}


def written(reported: str) -> dict[str, str]:
    """Return the variables that `pef up` wrote."""
    path = Path(re.findall(r"kept in (\S+),", reported)[0])
    return dict(re.findall(r"export (\w+)=(\S+)", path.read_text()))


def token(variables: dict[str, str], runtime: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `pef token guest` with what was written set."""
    return subprocess.run(
        [PEF, "token", "guest", *words],
        env=environment(runtime) | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def ask(
    variables: dict[str, str], side: str, bearer: str, method: str, path: str, json: object = None
) -> httpx.Response:
    """Send one request."""
    headers = {"authorization": f"Bearer {bearer}"}
    url = variables[f"PEF_{side}_URL"] + path
    return httpx.request(method, url, headers=headers, json=json, trust_env=False, timeout=30)


def test_a_token_is_good_for_the_vm_that_has_the_lpid_until_it_ends(tmp_path: Path) -> None:
    """Given a pair that is kept up, and a VM.

    When `pef token guest` mints tokens for it,
    then they are good at both sides until the VM is destroyed.
    """
    with up(tmp_path, "--normal-memory", "http", "--secure-memory", "1GiB") as (_, reported):
        variables = written(reported)
        nobody = token(variables, tmp_path, "1")
        assert (nobody.returncode, nobody.stderr) == (2, "pef: no VM has lpid 1 at the Ultravisor\n")
        vmm = variables["PEF_VMM_TOKEN"]
        made = ask(variables, "HYPERVISOR", vmm, "POST", "/v1/vmm/vms", json=VM).json()
        assert made["lpid"] == 1
        minted = ""
        for side, reason in (("hypervisor", "no slot"), ("ultravisor", "not secure")):
            minted = token(variables, tmp_path, "1", "--endpoint", side).stdout.strip()
            answer = ask(variables, side.upper(), minted, "POST", "/v1/guest/load?gpa=0&length=8")
            assert answer.json() == {"access": "refused", "reason": reason, "gpa": 0}
            user = token(variables, tmp_path, "1", "--endpoint", side, "--problem-state").stdout.strip()
            assert user != minted
        ask(variables, "HYPERVISOR", vmm, "DELETE", "/v1/vmm/vms/1")
        for side in ("HYPERVISOR", "ULTRAVISOR"):
            assert ask(variables, side, minted, "POST", "/v1/guest/load?gpa=0&length=8").status_code == 401


def test_a_token_of_no_pair_is_one_line(tmp_path: Path) -> None:
    """Given no pair that runs, when `pef token guest` is run, then it ends with status 2 and one line."""
    ran = pef("token", "guest", "1", runtime=tmp_path)
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)
    assert "whose guest?" in ran.stderr


def test_the_machine_key_stays_and_ports_are_taken(tmp_path: Path) -> None:
    """Given two ports and a directory.

    When `pef up` is run there twice,
    then it listens at these ports, and the machine key stays.
    """
    ports = free_ports(2)
    keys = []
    for _ in range(2):
        words = ("--ultravisor-port", str(ports[0]), "--hypervisor-port", str(ports[1]))
        with up(tmp_path, "--normal-memory", "http", *words) as (process, reported):
            variables = written(reported)
            assert variables["PEF_ULTRAVISOR_URL"] == f"http://127.0.0.1:{ports[0]}"
            assert variables["PEF_HYPERVISOR_URL"] == f"http://127.0.0.1:{ports[1]}"
            keys.append(ask(variables, "ULTRAVISOR", "nobody", "GET", "/v1/machine-key").json()["public_key"])
            process.terminate()
            process.wait(30)
    assert keys[0] == keys[1]
    kept = tmp_path / f"pef-{os.getuid()}" / standing.MACHINE_KEY
    assert kept.stat().st_mode & 0o777 == 0o600


def test_the_tokens_of_the_visors_are_written_for_tests_alone(tmp_path: Path) -> None:
    """Given a pair that is kept up.

    When `pef up` is asked for tests, or not,
    then it writes the tokens of both sides only then.
    """
    with up(tmp_path, "--normal-memory", "http") as (process, reported):
        assert not {"PEF_ULTRAVISOR_TOKEN", "PEF_HYPERVISOR_TOKEN"} & written(reported).keys()
        process.terminate()
        process.wait(30)
    with up(tmp_path, "--normal-memory", "http", "--for-tests") as (process, reported):
        variables = written(reported)
        assert process.stdout is not None
        assert "For tests only" in process.stdout.readline()
        epoch = ask(variables, "ULTRAVISOR", variables["PEF_HYPERVISOR_TOKEN"], "GET", "/v1/epoch")
        assert epoch.status_code == 200
