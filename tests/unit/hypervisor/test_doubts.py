"""Pages in doubt: a message about them was never answered, and the next one settles where they are.

Source: decisions, "UV_PAGE_OUT that nobody answered" and the rows after it.
"""

import pytest

from pef_protocol.codes import UCode
from pef_protocol.designs import Design
from pef_protocol.quantities import PAGE_SIZE
from unit.hypervisor.scripted_ultravisor import first_done, refuse, silent
from unit.hypervisor.world import refused, secured


def test_a_page_in_doubt_is_out_once_the_ultravisor_says_so() -> None:
    world = secured()
    world.uv.answers("UV_PAGE_OUT", silent(), refuse(UCode.U_PARAMETER))
    world.read(1)
    assert isinstance(world.read(1), bytes)
    assert world.states()[1] == "P"
    assert world.sound()


def test_a_page_in_doubt_is_out_once_the_ultravisor_asks_for_it() -> None:
    world = secured()
    world.uv.answers("UV_PAGE_OUT", silent())
    world.read(1)
    assert world.page_in((1, 1)).code.name == "H_SUCCESS"
    assert world.states()[1] == "S"
    assert world.sound()


@pytest.mark.parametrize("design", [Design.TRACKED, Design.PUSHED])
@pytest.mark.parametrize("arrived", [True, False])
def test_a_page_in_that_nobody_answers_leaves_the_page_in_doubt(design: Design, *, arrived: bool) -> None:
    world = secured(design)
    world.read(1)
    world.uv.answers("UV_PAGE_IN", first_done(silent()) if arrived else silent())
    assert world.page_in((1, 1)).code.name == "H_PARAMETER"
    assert (world.states()[1], world.uv.pages[1][0]) == ("S", "S" if arrived else "P")
    assert world.sound()
    assert world.page_out((1, 1)).code.succeeded
    assert (world.states()[1] in "NP", world.uv.pages[1][0], world.used) == (True, "P", 3)
    assert world.page_in((1, 1)).code.succeeded
    assert world.uv.pages[1] == ("S", b"GFN 1".ljust(PAGE_SIZE, bytes(1)))
    assert world.sound()


def test_pages_in_doubt_give_their_device_pages_back_when_these_are_short() -> None:
    world = secured(device_pages=4)
    world.uv.answers("UV_PAGE_OUT", first_done(silent()), silent())
    world.read(0)
    world.read(1)
    assert (world.states()[:4], world.used) == ("SSSS", 4)
    assert refused(world.page_in((4, 2))) == [(4, 2, "H_BUSY")]
    assert (world.states()[:4], world.used) == ("PPSS", 2)
    assert world.page_in((4, 2)).code.succeeded
    assert world.page_in((0, 1)).code.name == "H_PARAMETER"
    assert world.sound()


def test_a_page_in_doubt_that_cannot_be_settled_is_not_waited_for() -> None:
    world = secured(device_pages=4)
    world.uv.answers("UV_PAGE_OUT", silent(), silent())
    world.read(0)
    assert refused(world.page_in((4, 1))) == [(4, 1, "H_PARAMETER")]
    assert world.sound()


def test_a_page_out_that_came_twice_is_out_though_the_answer_is_a_refusal_of_the_page() -> None:
    world = secured()
    world.uv.answers("UV_PAGE_OUT", first_done())
    seen = world.run(world.hv.host_read(world.lpid, PAGE_SIZE, 2 * PAGE_SIZE))
    assert isinstance(seen, bytes)
    assert seen[:5] == bytes(255 - byte for byte in b"GFN 1")
    assert (world.states()[:4], world.used) == ("SPPS", 2)
    assert world.page_in((1, 1)).code.name == "H_SUCCESS"
    assert world.uv.pages[1][0] == "S"
    assert world.sound()
