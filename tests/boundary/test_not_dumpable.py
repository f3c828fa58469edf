"""The Ultravisor's memory is its own: no other user reads it, and no core of it is written."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.live import LivePlan, live_pair
from pef_lab.service_process import ServiceProcess

pytestmark = pytest.mark.sockets

ROOT = (0, 0)
NOBODY = 65534


@contextmanager
def not_all_of_root() -> Iterator[None]:
    """Have processes start in a group that is not root's: files of root's are told from their own by it."""
    groups = os.getresgid()
    if os.geteuid() == 0:
        os.setresgid(NOBODY, NOBODY, -1)
    try:
        yield
    finally:
        os.setresgid(*groups)


def owner(service: ServiceProcess) -> tuple[int, int]:
    """Return who owns the memory of a process: root where it is not dumpable, else its own user and group."""
    memory = Path(f"/proc/{service.pid}/mem").stat()
    return memory.st_uid, memory.st_gid


def core_limit(service: ServiceProcess) -> list[str]:
    """Return the soft and the hard limit of the core that a process may leave."""
    limits = Path(f"/proc/{service.pid}/limits").read_text(encoding="ascii").splitlines()
    return next(line for line in limits if line.startswith("Max core file size")).split()[4:6]


def opened_by_another(path: str) -> bool:
    """Tell whether another user, or this one if there is no other, can open a file of ours."""
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            os.open(path, os.O_RDONLY)
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


async def test_the_ultravisor_is_not_dumpable() -> None:
    """Given a running pair.

    When another user opens the Ultravisor's memory,
    then that is refused, and no core of it would be written.
    """
    with not_all_of_root():
        async with live_pair(LivePlan(between=False)) as pair:
            assert owner(pair.hypervisor) != ROOT
            assert owner(pair.ultravisor) == ROOT
            assert not opened_by_another(f"/proc/{pair.ultravisor.pid}/mem")
            assert core_limit(pair.ultravisor) == ["0", "0"]
