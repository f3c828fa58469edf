"""The host touches memory: what it reads, writes and waits for."""

from typing import Any

import pytest

from harness.hypervisor_fixtures import ULTRAVISOR, HypervisorUnderTest, secured
from harness.scripted_peer import refuse, silent, turned_away
from harness.scripted_ultravisor import Answer, refuse_gfns, rows
from pef_kit.core.effects import MAX_ATTEMPTS
from pef_protocol.codes import UCode
from pef_protocol.quantities import PAGE_SIZE


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
