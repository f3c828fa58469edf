"""A VMM adds a slot to a VM."""

import pytest

from harness.hypervisor_fixtures import HypervisorUnderTest
from harness.scripted_peer import first, honest
from pef_protocol.ultracalls import PageIn


@pytest.mark.parametrize(
    ("slot_id", "gpa", "size", "errno"),
    [
        (1, 100 << 16, 0, "EINVAL"),
        (1, 100 << 16, 100, "EINVAL"),
        (1, (100 << 16) + 1, 1 << 16, "EINVAL"),
        (1, (1 << 64) - (1 << 16), 2 << 16, "EINVAL"),
        (512, 100 << 16, 1 << 16, "EINVAL"),
        ((1 << 64) - 1, 100 << 16, 1 << 16, "EINVAL"),
        (0, 100 << 16, 1 << 16, "EEXIST"),
        (1, 15 << 16, 2 << 16, "EEXIST"),
        (1, 100 << 16, 1 << 50, "ENOMEM"),
        (1, 1 << 63, 1 << 63, "ENOMEM"),
        (511, (1 << 64) - (1 << 16), 1 << 16, "OK"),
    ],
)
def test_slots_that_can_not_be_are_refused(slot_id: int, gpa: int, size: int, errno: str) -> None:
    world = HypervisorUnderTest()
    before = world.hv.digest()
    outcome = world.run(world.hv.add_slot(world.lpid, slot_id, gpa, size))
    assert outcome.errno.name == errno
    assert (world.hv.digest() == before) is (errno != "OK")
    assert world.uv.asked == []
    assert world.sound()


def test_a_slot_of_a_normal_vm_is_none_of_the_ultravisors_business() -> None:
    world = HypervisorUnderTest()
    assert world.plug(1, 100, 4).errno.name == "OK"
    assert world.unplug(1).errno.name == "OK"
    assert world.uv.asked == []


def test_a_run_lies_in_one_slot_though_slots_abut_here_and_in_normal_memory() -> None:
    world = HypervisorUnderTest()
    beyond = world.slot.end
    assert world.plug(1, beyond, 1).errno.name == "OK"
    for gfn in (beyond - 1, beyond):
        world.write(gfn, b"text")
    world.init_start()
    assert world.page_in((beyond - 1, 1), (beyond, 1)).code.succeeded
    (request,) = [ask.request for ask in world.uv.asked if ask.name == "UV_PAGE_IN"]
    assert isinstance(request, PageIn)
    assert [count for _, _, count in request.runs] == [1, 1]


def test_a_hot_add_without_enough_device_pages_is_asked_for_and_undone() -> None:
    world = HypervisorUnderTest(device_pages=18)
    world.init_start()
    world.init_done()
    before = world.hv.digest()
    assert (world.plug(1, 100, 3).errno.name, world.hv.digest()) == ("ENOMEM", before)
    assert world.uv.names[-2:] == ["UV_REGISTER_MEM_SLOT", "UV_UNREGISTER_MEM_SLOT"]
    world.uv.answers(
        "UV_REGISTER_MEM_SLOT", first(lambda _: setattr(world.hv.store.pool, "size", 17), honest)
    )
    outcome = world.plug(1, 100, 2)
    world.hv.store.pool.size = 18
    assert (outcome.errno.name, outcome.detail) == ("ENOMEM", "there are not enough device pages")
    assert (list(world.uv.slots), world.used, world.hv.digest()) == ([0], 16, before)
    assert world.sound()
