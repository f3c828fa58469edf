"""H_SVM_PAGE_IN of one page: its normal page goes."""

from harness.hypervisor_fixtures import HypervisorUnderTest
from harness.scripted_peer import first, honest
from harness.scripted_ultravisor import ZERO_PAGE
from pef_protocol.quantities import PAGE_SIZE


def test_a_page_that_goes_secure_is_zero_in_normal_memory_and_takes_none() -> None:
    world = HypervisorUnderTest(pages=80, device_pages=80)
    world.write(0, b"\x01" * (80 * PAGE_SIZE))
    world.init_start()
    world.uv.answers("UV_PAGE_IN", first(lambda _: None, honest))
    assert world.page_in((0, 80)).code.succeeded
    assert all(world.normal_page(gfn) == ZERO_PAGE for gfn in (0, 40, 79))
    assert world.sound()
