"""How the two containers are held: by whom they run, what they may do, are given, and tell."""

import json
import re
import secrets
import urllib.request
from pathlib import Path
from typing import Final

import pytest

from compose.containers import SIDES, Project, output_of, ran
from compose.fixture import found_in_normal_memory, one_vm
from pef_lab.guest import World

FOR_BOTH: Final = {"pef_ultravisor_token", "pef_hypervisor_token", "pef_observer_token"}
GIVEN: Final = {
    "ultravisor": {name: name for name in FOR_BOTH}
    | {"pef_guest_key": "pef_ultravisor_guest_key", "pef_machine_key": "pef_machine_key"},
    "hypervisor": {name: name for name in FOR_BOTH}
    | {"pef_guest_key": "pef_hypervisor_guest_key", "pef_vmm_token": "pef_vmm_token"},
}
"""The secrets that a side is given: the name that it reads them by, and the file of `make secrets`."""

USERS: Final = {"ultravisor": "10001", "hypervisor": "10002"}
GROUP: Final = "10000"
LIMIT: Final = 8 << 30
"""Bytes of memory that each side may have, where nobody says otherwise."""


@pytest.fixture(params=SIDES)
def side(request: pytest.FixtureRequest) -> str:
    """Name a side."""
    return str(request.param)


def test_both_are_up_and_healthy_and_reached_from_this_machine_alone(pair: Project, side: str) -> None:
    """Given a pair of containers.

    When a side is inspected,
    then it is healthy, and is reached from this machine alone.
    """
    found = pair.inspected(side)
    assert found["State"]["Health"]["Status"] == "healthy"
    assert [each["HostIp"] for ports in found["NetworkSettings"]["Ports"].values() for each in ports] == [
        "127.0.0.1"
    ]


def test_a_side_runs_as_a_user_of_its_own_with_no_right_beyond(pair: Project, side: str) -> None:
    """Given a pair of containers.

    When a side's process is looked at,
    then it runs as a user of its own, without any capability.
    """
    status = pair.python(side, "print(open('/proc/1/status').read())")
    held = dict(re.findall(r"^(\w+):\s+(.*)$", status, re.MULTILINE))
    assert set(held["Uid"].split()) == {USERS[side]}
    assert set(held["Gid"].split()) == {GROUP}
    assert {held[name].strip("0") for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {""}
    assert held["NoNewPrivs"] == "1"
    assert not pair.inspected(side)["HostConfig"]["Privileged"]


def test_a_side_is_bounded_and_is_started_again_when_it_dies(pair: Project, side: str) -> None:
    """Given a pair of containers.

    When a side is inspected,
    then its memory, files and cores are bounded, and it is started again when it dies.
    """
    host = pair.inspected(side)["HostConfig"]
    assert (host["Memory"], host["MemorySwap"]) == (LIMIT, LIMIT)
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    limits = pair.python(
        side, "import resource as r; print(r.getrlimit(r.RLIMIT_NOFILE), r.getrlimit(r.RLIMIT_CORE))"
    )
    assert limits == "(4096, 4096) (0, 0)\n"


def test_a_side_can_write_nowhere_but_where_it_must(pair: Project, side: str) -> None:
    """Given a pair of containers.

    When a side tries to write in each directory,
    then it can in its temporary one and in normal memory.
    """
    wrote = pair.python(
        side,
        """
import os
wrote = []
for folder, below, _ in os.walk("/"):
    below[:] = [name for name in below if os.path.join(folder, name) not in ("/proc", "/sys", "/dev")]
    try:
        os.close(os.open(folder, os.O_TMPFILE | os.O_RDWR))
        wrote.append(folder)
    except OSError:
        pass
print(*wrote)
""",
    )
    assert set(wrote.split()) == {"/tmp", "/normal-memory"}  # noqa: S108


def test_normal_memory_is_all_that_both_mount(pair: Project) -> None:
    """Given a pair of containers.

    When what they mount is inspected,
    then they share normal memory and nothing else.
    """
    mounted = {
        side: {each["Source"] for each in pair.inspected(side)["Mounts"] if each["RW"]} for side in SIDES
    }
    assert mounted["ultravisor"] == mounted["hypervisor"]
    assert len(mounted["ultravisor"]) == 1
    assert (
        pair.python("ultravisor", "print(open('/proc/mounts').read())").count(" /normal-memory tmpfs ") == 1
    )


def test_normal_memory_has_a_file_of_the_hypervisor_and_a_lock_for_each_side(pair: Project) -> None:
    """Given a pair of containers.

    When the directory of normal memory is listed,
    then it has the Hypervisor's file and a lock of each side, for their users.
    """
    reported = pair.python(
        "hypervisor",
        """
import os, stat
for name in [".", *sorted(os.listdir("/normal-memory"))]:
    found = os.lstat("/normal-memory/" + name)
    print(name, oct(stat.S_IMODE(found.st_mode)), found.st_uid, found.st_gid)
""",
    )
    (directory, lock, file, other_lock) = (line.split() for line in reported.splitlines())
    assert directory == [".", "0o1770", "0", GROUP]
    assert lock == ["hypervisor.lock", "0o600", USERS["hypervisor"], GROUP]
    assert other_lock == ["ultravisor.lock", "0o600", USERS["ultravisor"], GROUP]
    assert re.fullmatch("normal-memory-[0-9a-f]{32}", file[0])
    assert file[1:] == ["0o660", USERS["hypervisor"], GROUP]


def test_no_side_removes_what_is_the_others(pair: Project, side: str) -> None:
    """Given a pair of containers.

    When a side removes the other's files of normal memory,
    then each try is refused.
    """
    tried = pair.python(
        side,
        """
import os
for name in sorted(os.listdir("/normal-memory")):
    path = "/normal-memory/" + name
    if os.lstat(path).st_uid != os.getuid():
        try:
            os.unlink(path)
        except PermissionError:
            print("refused")
        else:
            print("removed", name)
""",
    )
    assert set(tried.split()) == {"refused"}


def test_liveness_needs_no_peer_and_no_token(pair: Project, side: str) -> None:
    """Given a pair of containers.

    When anybody asks a side for /livez and /readyz,
    then it answers without a token.
    """
    for path, answer in (("/livez", {"live": True}), ("/readyz", {"ready": True})):
        with urllib.request.urlopen(pair.url(side) + path) as response:  # noqa: S310 - of this machine
            assert json.load(response) == answer


def test_a_side_is_given_its_own_secrets_and_no_other(pair: Project, side: str) -> None:
    """Given a pair of containers, when the secrets of a side are read, then they are its own and no other."""
    reported = pair.python(
        side, "import pathlib; [print(p.name, p.read_text()) for p in pathlib.Path('/run/secrets').iterdir()]"
    )
    assert dict(line.split() for line in reported.splitlines()) == {
        name: pair.tokens[file] for name, file in GIVEN[side].items()
    }


def test_no_token_is_in_what_the_engine_knows_or_a_side_tells(pair: Project, side: str) -> None:
    """Given a pair of containers, when what the engine and a side tell is read, then no token is there."""
    shown = output_of("docker", "inspect", pair.container(side)) + pair.logs(side)
    shown += pair.python(
        side, "print(*(open('/proc/' + each).read() for each in ('self/environ', '1/cmdline')))"
    )
    assert pair.container(side) in shown
    assert not [name for name, token in pair.tokens.items() if token in shown]


async def test_what_an_svm_holds_is_on_no_volume_and_in_no_log(pair: Project) -> None:
    """Given an SVM in containers that wrote a secret.

    When its page was out and in again,
    then the secret is in no file of normal memory and in no log.
    """
    in_clear, secret = secrets.token_bytes(32), secrets.token_bytes(32)
    async with one_vm(pair.endpoints()) as vm:
        await vm.guest.store(vm.free, in_clear)
        assert found_in_normal_memory(pair, in_clear) == {in_clear}
        assert (await vm.secure()).code.succeeded
        await vm.guest.store(vm.free, secret)
        await vm.vmm.read(vm.lpid, vm.free, len(secret))  # which pages it out
        assert await vm.guest.load(vm.free, len(secret)) == secret
        assert vm.guest.world is World.SECURE
        assert found_in_normal_memory(pair, secret) == set()
    for side in SIDES:
        assert not [form for form in (secret.hex(), repr(secret)[2:-1]) if form in pair.logs(side)]


def test_a_side_without_secrets_does_not_start(pair: Project, side: str) -> None:
    """Given the image of a side.

    When it is started without secrets,
    then it ends and names what is missing.
    """
    image = pair.inspected(side)["Config"]["Image"]
    alone = ran("docker", "run", "--rm", "--network=none", "--env=PEF_PEER_URL=http://nobody", image)
    assert alone.returncode == 2
    assert "PEF_HYPERVISOR_TOKEN: this must be set" in alone.stderr
    assert "PEF_GUEST_KEY: this must be set" in alone.stderr


def test_secrets_are_random_and_readable_by_their_owner_alone(tmp_path: Path) -> None:
    """Given no secrets.

    When `make secrets` is run, and again when one was removed,
    then they are random, kept for their owner, and only the missing one is new.
    """
    project = Project("pef-test-no-containers", tmp_path / "secrets")
    assert project.make("secrets").returncode == 0
    assert project.secrets.stat().st_mode & 0o777 == 0o700
    made = {file.name: file.read_text() for file in project.secrets.iterdir()}
    assert made.keys() == {file for given in GIVEN.values() for file in given.values()}
    assert all(re.fullmatch("[0-9a-f]{64}", token) for token in made.values())
    assert len(set(made.values())) == len(made)
    (project.secrets / "pef_vmm_token").unlink()
    assert project.make("secrets").returncode == 0
    again = {file.name: file.read_text() for file in project.secrets.iterdir()}
    assert {name for name in made if made[name] != again[name]} == {"pef_vmm_token"}
