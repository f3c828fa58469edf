"""A range of normal memory is scrubbed, or handed to somebody, only once no bus request names it.

Source: rule 13 of ARCHITECTURE.md, "Identity and time".
"""

import numpy as np
import pytest

from harness.hypervisor_fixtures import HypervisorUnderTest, secured
from pef_hypervisor.normal_memory import BusRequests
from pef_kit.core.effects import Backoff
from pef_kit.runtime.bus import NORMAL_BASE
from pef_protocol.quantities import PAGE_SIZE


@pytest.mark.parametrize(
    ("piece", "touched"),
    [((0, 10), False), ((9, 2), True), ((15, 1), True), ((19, 1), True), ((20, 10), False), ((5, 100), True),
     ((30, 1), True), ((45, 5), False), ((12, 0), False)],
)  # fmt: skip
def test_a_request_touches_the_ranges_that_it_names_a_byte_of(
    piece: tuple[int, int], *, touched: bool
) -> None:
    requests = BusRequests()
    ranges = np.array([10, 30]), np.array([20, 40])
    with requests.under_way([(100, 1), piece]):
        assert requests.touch(*ranges) is touched
    assert not requests.touch(*ranges)


def test_destroy_hands_no_range_over_that_a_request_still_names() -> None:
    world = HypervisorUnderTest()
    base = world.slot.base
    with world.hv.store.memory.requests.under_way([(base + PAGE_SIZE, 1)]):
        destroying = world.start(world.hv.destroy(world.lpid)).step().step()
        assert isinstance(destroying.effect, Backoff)
        assert base in world.hv.store.memory.claims
        destroying.step()
        assert not destroying.ended
    assert destroying.finish().errno.name == "OK"
    assert world.hv.store.memory.claims == {}


def test_what_is_beside_a_request_does_not_wait_for_it() -> None:
    world = HypervisorUnderTest()
    with world.hv.store.memory.requests.under_way([(NORMAL_BASE + world.slot.count * PAGE_SIZE, PAGE_SIZE)]):
        assert world.run(world.hv.destroy(world.lpid)).errno.name == "OK"


def test_a_destroy_whose_time_is_over_can_be_repeated() -> None:
    world = HypervisorUnderTest()
    with world.hv.store.memory.requests.under_way([(world.slot.base, 1)]):
        assert world.run(world.hv.destroy(world.lpid)).errno.name == "EBUSY"
        assert world.run(world.hv.load(world.lpid, 0, 1)).reason == "must be reset"  # type: ignore[union-attr]
    assert world.run(world.hv.destroy(world.lpid)).errno.name == "OK"


def test_a_page_that_a_request_names_for_ever_is_scrubbed_by_the_reset_that_must_follow() -> None:
    world = secured()
    world.write(4, b"private")
    with world.hv.store.memory.requests.under_way([(world.slot.base + 4 * PAGE_SIZE, 1)]):
        assert world.page_in((4, 1)).code.succeeded
    assert (world.vm.must_reset, world.hv.invariants()) == (True, [])
    assert world.reset().errno.name == "OK"
    assert world.read(4, 7) == bytes(7)
    assert world.sound()
