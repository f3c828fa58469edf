"""Operations on a VM that there is not."""

from harness.hypervisor_fixtures import HypervisorUnderTest
from pef_protocol.quantities import PAGE_SIZE


def test_operations_on_a_vm_that_there_is_not() -> None:
    world = HypervisorUnderTest()
    hv = world.hv
    for operation in (
        hv.add_slot(9, 0, 0, PAGE_SIZE),
        hv.remove_slot(9, 0),
        hv.reset(9),
        hv.destroy(9),
        hv.unmap(9, 0, 1),
        hv.host_write(9, 0, b"x"),
    ):
        assert world.run(operation).errno.name == "ENOENT"
    assert world.unplug(5).errno.name == "ENOENT"
    assert getattr(world.run(hv.host_read(9, 0, 1)), "errno", None) is not None
