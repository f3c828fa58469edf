"""How the two containers are held: by whom they run, what they may do, are given, and tell."""

import re
import secrets
from pathlib import Path
from typing import Final

import pytest

from compose.containers import SIDES, Project, output_of, ran
from compose.scene import one_vm
from pef_lab.guest import World

FOR_BOTH: Final = {"pef_ultravisor_token", "pef_hypervisor_token", "pef_observer_token"}
GIVEN: Final = {
    "ultravisor": {name: name for name in FOR_BOTH} | {"pef_guest_key": "pef_ultravisor_guest_key"},
    "hypervisor": {name: name for name in FOR_BOTH}
    | {"pef_guest_key": "pef_hypervisor_guest_key", "pef_vmm_token": "pef_vmm_token"},
}
"""The secrets that a side is given: the name that it reads them by, and the file of `make secrets`."""

FIND: Final = """
import os, sys
wanted, place, seen = bytes.fromhex(sys.argv[1]), 0, False
handle = os.open("/normal-memory/file", os.O_RDONLY)
while True:
    try:
        place = os.lseek(handle, place, os.SEEK_DATA)
    except OSError:
        break
    end = os.lseek(handle, place, os.SEEK_HOLE)
    while place < end:
        piece = os.pread(handle, min(1 << 24, end - place), place)
        seen, place = seen or wanted in piece, place + len(piece)
print(seen)
"""
"""Looks for bytes in all of normal memory that was ever touched."""


@pytest.fixture(params=SIDES)
def side(request: pytest.FixtureRequest) -> str:
    """Name a side."""
    return str(request.param)


def test_both_are_up_and_healthy_and_reached_from_this_machine_alone(pair: Project, side: str) -> None:
    found = pair.inspected(side)
    assert found["State"]["Health"]["Status"] == "healthy"
    assert [each["HostIp"] for ports in found["NetworkSettings"]["Ports"].values() for each in ports] == [
        "127.0.0.1"
    ]


def test_a_side_runs_as_nobody_in_particular_with_no_right_beyond(pair: Project, side: str) -> None:
    status = pair.python(side, "print(open('/proc/1/status').read())")
    held = dict(re.findall(r"^(\w+):\s+(.*)$", status, re.MULTILINE))
    assert set(held["Uid"].split() + held["Gid"].split()) == {"10001"}
    assert {held[name].strip("0") for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {""}
    assert held["NoNewPrivs"] == "1"
    assert not pair.inspected(side)["HostConfig"]["Privileged"]


def test_a_side_can_write_nowhere_but_where_it_must(pair: Project, side: str) -> None:
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
    mounted = {
        side: {each["Source"] for each in pair.inspected(side)["Mounts"] if each["RW"]} for side in SIDES
    }
    assert mounted["ultravisor"] == mounted["hypervisor"]
    assert len(mounted["ultravisor"]) == 1
    assert (
        pair.python("ultravisor", "print(open('/proc/mounts').read())").count(" /normal-memory tmpfs ") == 1
    )


def test_a_side_is_given_its_own_secrets_and_no_other(pair: Project, side: str) -> None:
    told = pair.python(
        side, "import pathlib; [print(p.name, p.read_text()) for p in pathlib.Path('/run/secrets').iterdir()]"
    )
    assert dict(line.split() for line in told.splitlines()) == {
        name: pair.tokens[file] for name, file in GIVEN[side].items()
    }


def test_no_token_is_in_what_the_engine_knows_or_a_side_tells(pair: Project, side: str) -> None:
    shown = output_of("docker", "inspect", pair.container(side)) + pair.logs(side)
    shown += pair.python(side, "print(*(open('/proc/1/' + each).read() for each in ('environ', 'cmdline')))")
    assert pair.container(side) in shown
    assert not [name for name, token in pair.tokens.items() if token in shown]


async def test_what_an_svm_holds_is_on_no_volume_and_in_no_log(pair: Project) -> None:
    in_clear, secret = secrets.token_bytes(32), secrets.token_bytes(32)
    async with one_vm(pair.endpoints()) as vm:
        await vm.guest.store(vm.free, in_clear)
        assert pair.python("hypervisor", FIND, in_clear.hex()) == "True\n"
        assert (await vm.secure()).code.succeeded
        await vm.guest.store(vm.free, secret)
        await vm.vmm.read(vm.lpid, vm.free, len(secret))  # which pages it out
        assert await vm.guest.load(vm.free, len(secret)) == secret
        assert vm.guest.world is World.SECURE
        assert pair.python("hypervisor", FIND, secret.hex()) == "False\n"
    for side in SIDES:
        assert not [form for form in (secret.hex(), repr(secret)[2:-1]) if form in pair.logs(side)]


def test_a_side_without_secrets_does_not_start(pair: Project, side: str) -> None:
    image = pair.inspected(side)["Config"]["Image"]
    alone = ran("docker", "run", "--rm", "--network=none", "--env=PEF_PEER_URL=http://nobody", image)
    assert alone.returncode not in {0, 125}
    assert "hypervisor_token" in alone.stderr
    assert "guest_key" in alone.stderr


def test_secrets_are_random_and_readable_by_their_owner_alone(tmp_path: Path) -> None:
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
