"""A VMM creates a VM."""

from typing import Any

import pytest

from harness.hypervisor_fixtures import HypervisorUnderTest
from harness.scripted_peer import refuse, silent, turned_away
from harness.scripted_ultravisor import Answer
from pef_hypervisor.state import LPIDS
from pef_protocol.codes import UCode
from pef_protocol.designs import Design
from pef_protocol.quantities import SECURE_BIT


def create(world: HypervisorUnderTest) -> Any:
    """Create one more VM."""
    return world.run(world.hv.create_vm(Design.TRACKED, secure_guest=True, radix=True))


def test_a_vm_gets_an_lpid_that_no_vm_had_and_its_entry_is_written() -> None:
    world = HypervisorUnderTest()
    assert (world.lpid, create(world).outputs["lpid"], create(world).outputs["lpid"]) == (1, 2, 3)
    request: Any = world.uv.asked[-1].request
    assert (world.uv.names[-1], request.lpid) == ("UV_WRITE_PATE", 3)
    assert not (request.dw0 | request.dw1) & SECURE_BIT
    world.run(world.hv.destroy(2))
    assert create(world).outputs["lpid"] == 4


def test_lpids_are_reused_when_all_were_used_the_least_recently_freed_first() -> None:
    world = HypervisorUnderTest()
    world.hv.store.in_the_making.update(set(LPIDS) - {1, 2, 3})
    assert [create(world).outputs["lpid"] for _ in range(2)] == [2, 3]
    for lpid in (3, 1, 2):
        world.run(world.hv.destroy(lpid))
    assert [create(world).outputs["lpid"] for _ in range(3)] == [3, 1, 2]
    assert create(world).errno.name == "ENOMEM"


def test_each_vm_has_an_incarnation_of_its_own_whatever_lpid_it_has() -> None:
    world = HypervisorUnderTest()
    world.hv.store.in_the_making.update(set(LPIDS) - {1})
    first = world.hv.store.vms[1].incarnation
    world.run(world.hv.destroy(1))
    assert create(world).outputs["lpid"] == 1
    assert world.hv.store.vms[1].incarnation.count > first.count


@pytest.mark.parametrize(
    ("answer", "errno"),
    [
        (refuse(UCode.U_PARAMETER), "EINVAL"),
        (refuse(UCode.U_PERMISSION), "EINVAL"),
        (turned_away(), "EINVAL"),
        (silent(), "EIO"),
    ],
    ids=["refused", "an SVM is there", "turned away", "silent"],
)
def test_a_vm_whose_entry_is_not_taken_is_not_made(answer: Answer, errno: str) -> None:
    world = HypervisorUnderTest()
    before = world.hv.digest()
    world.uv.answers("UV_WRITE_PATE", answer)
    outcome = create(world)
    assert (outcome.errno.name, outcome.outputs) == (errno, {})
    assert outcome.detail.startswith("UV_WRITE_PATE")
    assert world.hv.digest() == before
    assert create(world).outputs["lpid"] == 3


def test_two_vms_made_at_once_get_two_lpids_and_all_may_be_taken() -> None:
    world = HypervisorUnderTest()
    one = world.start(world.hv.create_vm(Design.EAGER, secure_guest=True, radix=True))
    two = world.start(world.hv.create_vm(Design.EAGER, secure_guest=True, radix=True))
    assert {one.finish().outputs["lpid"], two.finish().outputs["lpid"]} == {2, 3}
    world.hv.store.in_the_making.update(LPIDS)
    assert create(world).errno.name == "ENOMEM"
