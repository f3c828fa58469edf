"""The VMM unmaps memory of a VM."""

from typing import Any

import pytest

from harness.hypervisor_fixtures import HypervisorUnderTest, secured
from harness.scripted_peer import refuse, turned_away
from harness.scripted_ultravisor import refuse_gfns, rows
from pef_kit.core.effects import MAX_ATTEMPTS
from pef_protocol.codes import UCode
from pef_protocol.designs import Design


@pytest.mark.parametrize("design", [Design.EAGER, Design.BROKEN, Design.PUSHED])
def test_two_states_tell_the_ultravisor_of_every_page_and_ignore_that_some_are_secure(design: Design) -> None:
    world = secured(design)
    world.share((6, 1))
    world.uv.asked.clear()
    assert world.unmap(2, 6).errno.name == "OK"
    assert [rows(ask) for ask in world.uv.asked] == [[(4, 4)]]
    assert world.sound()


def test_unmapping_in_a_normal_vm_is_silent_and_keeps_the_bytes() -> None:
    world = HypervisorUnderTest()
    world.write(1, b"text")
    assert world.unmap(0, 4).errno.name == "OK"
    assert (world.uv.asked, world.read(1, 4)) == ([], b"text")


def test_an_unmapped_shared_page_keeps_its_bytes_and_is_offered_again() -> None:
    world = secured()
    world.share((5, 1))
    world.write(5, b"shared")
    assert world.unmap(5).errno.name == "OK"
    assert world.states()[5] == "H"
    assert world.share((5, 1)).code.succeeded
    assert world.read(5, 6) == b"shared"


@pytest.mark.parametrize(
    ("answers", "errno"),
    [
        ([refuse(UCode.U_BUSY)], "OK"),
        ([refuse(UCode.U_BUSY)] * MAX_ATTEMPTS, "EBUSY"),
        ([refuse_gfns(UCode.U_P2, 5)], "EINVAL"),
        ([turned_away()], "EINVAL"),
    ],
    ids=["busy once", "busy", "refused", "turned away"],
)
def test_an_invalidation_that_is_not_taken_is_told(answers: list[Any], errno: str) -> None:
    world = secured()
    world.share((5, 1))
    before = world.hv.digest()
    world.uv.answers("UV_PAGE_INVAL", *answers)
    assert (world.unmap(5).errno.name, world.hv.digest()) == (errno, before)


@pytest.mark.parametrize(
    ("gpa", "count", "errno"), [(1, 1, "EINVAL"), (0, 17, "EFAULT"), (0, 1 << 63, "EFAULT")]
)
def test_ranges_that_can_not_be_unmapped(gpa: int, count: int, errno: str) -> None:
    world = HypervisorUnderTest()
    assert world.run(world.hv.unmap(world.lpid, gpa, count)).errno.name == errno
