"""A guest that runs here loads and stores."""

from harness.hypervisor_fixtures import HypervisorUnderTest
from pef_hypervisor.checks import Refused
from pef_protocol.quantities import Gpa


def test_a_normal_guest_loads_what_it_stored() -> None:
    world = HypervisorUnderTest()
    assert world.run(world.hv.store_bytes(world.lpid, 65000, b"guest text" * 100)) is None
    assert world.run(world.hv.load(world.lpid, 65000, 10)) == b"guest text"
    assert world.run(world.hv.host_read(world.lpid, 65000, 10)) == b"guest text"


def test_a_guest_that_does_not_run_here_is_told_why() -> None:
    world = HypervisorUnderTest()
    hv, lpid = world.hv, world.lpid
    assert world.run(hv.load(lpid, 1 << 40, 8)) == Refused("no slot", Gpa(1 << 40))
    assert world.run(hv.store_bytes(9, 5, b"x")) == Refused("no VM", Gpa(5))
    assert world.run(hv.load(9, 5, 1)) == Refused("no VM", Gpa(5))
    world.init_start()
    assert world.run(hv.load(lpid, 3, 8)) == Refused("transient", Gpa(3))
    world.init_done()
    before = hv.digest()
    assert world.run(hv.store_bytes(lpid, 3, b"x")) == Refused("secure", Gpa(3))
    assert hv.digest() == before


def test_a_guest_access_waits_for_another_one_and_gives_up_in_the_end() -> None:
    world = HypervisorUnderTest(pages=64)
    write = world.start(world.hv.host_write(world.lpid, 0, b"x" * (2 << 20)))
    assert world.run(world.hv.load(world.lpid, 0, 1)) == Refused("busy", Gpa(0))
    load = world.start(world.hv.load(world.lpid, 0, 1)).step()
    write.finish()
    assert load.finish() == b"x"
