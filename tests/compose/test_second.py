"""A second process of a side, on the same volume and networks: it does not start, the first one goes on."""

import pytest

from compose.containers import SIDES, Project
from compose.fixture import one_vm


@pytest.fixture(params=SIDES)
def side(request: pytest.FixtureRequest) -> str:
    """Name a side."""
    return str(request.param)


async def test_a_second_process_of_a_side_does_not_start(pair: Project, side: str) -> None:
    """Given a pair with a VM, When a side is started again beside it, Then that ends and nothing happened."""
    async with one_vm(pair.endpoints()) as vm:
        second = pair.compose("run", "--rm", "--no-deps", "-T", side)
        reported = second.stdout + second.stderr
        assert second.returncode == 2
        assert f"another {side} holds /normal-memory/{side}.lock: stop it" in reported
        assert "Traceback" not in reported
        assert (await vm.secure()).code.succeeded
        await vm.guest.store(vm.free, b"as before")
        assert await vm.guest.load(vm.free, 9) == b"as before"
