"""The host and a normal guest touch memory; the host unmaps it.

Source: specification of the Hypervisor, sections 3, 4 and 6.
"""

from typing import Any

import pytest

from harness.hypervisor_fixtures import ULTRAVISOR, HypervisorUnderTest, secured
from harness.scripted_peer import first, honest, refuse, silent, turned_away
from harness.scripted_ultravisor import ZERO_PAGE, Answer, refuse_gfns, rows
from pef_hypervisor.checks import Refused
from pef_kit.core.effects import MAX_ATTEMPTS
from pef_protocol.codes import UCode
from pef_protocol.designs import Design
from pef_protocol.quantities import PAGE_SIZE, Gpa


def test_what_is_written_is_read_across_pages_and_slots_that_abut() -> None:
    world = HypervisorUnderTest()
    world.plug(1, 16, 4)
    text = bytes(range(256)) * 16
    at = 16 * PAGE_SIZE - 1000
    assert world.run(world.hv.host_write(world.lpid, at, text)).errno.name == "OK"
    assert world.run(world.hv.host_read(world.lpid, at, len(text))) == text
    assert world.run(world.hv.host_read(world.lpid, at - 100, 100)) == bytes(100)
    assert world.run(world.hv.host_read(world.lpid, at, 0)) == b""


def test_reading_untouched_memory_costs_nothing() -> None:
    world = HypervisorUnderTest()
    before = world.hv.digest()
    assert world.read(3, 3 * PAGE_SIZE) == bytes(3 * PAGE_SIZE)
    assert world.hv.digest() == before
    assert not world.slot.marks.any()


def test_a_large_access_is_copied_in_a_thread_while_its_pages_are_in_flight() -> None:
    world = HypervisorUnderTest(pages=64)
    text = bytes(range(256)) * (1 << 13)
    write = world.start(world.hv.host_write(world.lpid, 100, text))
    world.init_start()
    assert world.page_in((0, 1)).code.name == "H_BUSY"
    assert write.finish().errno.name == "OK"
    assert world.run(world.hv.host_read(world.lpid, 100, len(text))) == text
    assert world.sound()


def test_the_host_sees_ciphertext_of_all_pages_that_it_touches_by_one_message() -> None:
    world = secured()
    seen = world.run(world.hv.host_read(world.lpid, PAGE_SIZE, 2 * PAGE_SIZE))
    assert isinstance(seen, bytes)
    assert seen[:5] == bytes(255 - byte for byte in b"GFN 1")
    assert [rows(ask) for ask in world.uv.asked] == [[(1, 2)]]
    assert (world.states()[:4], world.used) == ("SPPS", 2)
    assert world.sound()


def test_the_host_writes_on_ciphertext_and_the_page_is_tainted() -> None:
    world = secured()
    assert world.write(1, b"x").errno.name == "OK"
    assert world.states()[1] == "P"
    assert world.page_in((1, 1)).code.name == "H_PARAMETER"
    assert world.states()[1] == "P"


@pytest.mark.parametrize(
    "answer",
    [refuse(UCode.U_PARAMETER), refuse_gfns(UCode.U_PARAMETER, 1), refuse(UCode.U_FUNCTION), turned_away()],
    ids=["whole", "page", "unknown call", "message"],
)
def test_a_secure_page_that_is_refused_is_a_bus_error_and_nothing_changes(answer: Answer) -> None:
    world = secured()
    before = world.hv.digest()
    for touch in (world.read, lambda gfn: world.write(gfn, b"x")):
        world.uv.answers("UV_PAGE_OUT", answer)
        outcome: Any = touch(1)
        assert (outcome.errno.name, outcome.detail[:10]) == ("EIO", "bus error:")
        assert world.hv.digest() == before
    assert world.sound()


def test_a_page_out_that_nobody_answers_is_a_bus_error_and_the_page_stays_secure() -> None:
    world = secured()
    world.uv.answers("UV_PAGE_OUT", silent())
    outcome: Any = world.read(1)
    said = "bus error: UV_PAGE_OUT to ultravisor: no answer"
    assert (outcome.errno.name, outcome.detail) == ("EIO", said)
    assert world.states()[1] == "S"
    assert world.sound()
    again: Any = world.read(2)
    assert (again.errno.name, again.detail) == ("EIO", "the VM must be reset")
    assert world.page_in((5, 1)).code.name == "H_BUSY"
    assert world.reset().errno.name == "OK"
    assert world.read(1) == bytes(8)
    assert world.sound()


def test_a_page_is_busy_while_a_device_page_is_on_its_way_back() -> None:
    world = secured(device_pages=4)
    world.read(0)
    assert world.page_in((4, 1)).code.name == "H_SUCCESS"
    assert world.page_in((0, 1)).code.name == "H_PARAMETER"
    leaving = world.start(world.hv.host_read(world.lpid, PAGE_SIZE, 4))
    assert world.page_in((0, 1)).code.name == "H_BUSY"
    leaving.finish()
    assert world.page_in((0, 1)).code.name == "H_SUCCESS"
    assert world.sound()


def test_a_busy_page_is_tried_again_and_in_the_end_given_up() -> None:
    world = secured()
    world.uv.answers("UV_PAGE_OUT", refuse(UCode.U_BUSY))
    assert isinstance(world.read(1), bytes)
    world.uv.answers("UV_PAGE_OUT", *[refuse(UCode.U_BUSY)] * MAX_ATTEMPTS)
    outcome: Any = world.read(2)
    assert outcome.errno.name == "EBUSY"
    assert world.sound()


def test_a_host_access_waits_for_a_page_in_flight() -> None:
    world = secured()
    share = world.start(world.hv.hypercall(ULTRAVISOR, "H_SVM_PAGE_IN", world.paging_in((0, 1), flags=1)))
    read = world.start(world.hv.host_read(world.lpid, 0, 4)).step()
    assert not read.ended
    share.finish()
    assert read.finish() == bytes(4)
    assert world.states()[0] == "H"


def test_a_page_in_flight_for_ever_is_busy() -> None:
    world = secured()
    stuck = world.start(world.hv.hypercall(ULTRAVISOR, "H_SVM_PAGE_OUT", world.paging_out((1, 1))))
    outcome: Any = world.read(1)
    assert (outcome.errno.name, world.unmap(1).errno.name) == ("EBUSY", "EBUSY")
    assert not stuck.ended


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


def test_a_page_that_goes_secure_is_zero_in_normal_memory_and_takes_none() -> None:
    world = HypervisorUnderTest(pages=80, device_pages=80)
    world.write(0, b"\x01" * (80 * PAGE_SIZE))
    world.init_start()
    world.uv.answers("UV_PAGE_IN", first(lambda _: None, honest))
    assert world.page_in((0, 80)).code.succeeded
    assert all(world.normal_page(gfn) == ZERO_PAGE for gfn in (0, 40, 79))
    assert world.sound()
