"""Every cell of the Hypervisor's table of events by GFN states, driven through the calls themselves.

Source: specification of the Hypervisor, section 4.
"""

from collections.abc import Callable
from typing import NamedTuple

import pytest

from harness.hypervisor_fixtures import HypervisorUnderTest, refused
from harness.scripted_peer import refuse
from pef_hypervisor.outcome import Errno, Outcome
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode

GFN = 3
TEXT = b"clear text"


def transient(letter: str, **options: int) -> HypervisorUnderTest:
    """Return a transient VM whose GFN, touched before, is in the state of that letter."""
    world = HypervisorUnderTest(**options)  # type: ignore[arg-type]
    world.write(GFN, TEXT)
    assert world.init_start().code.succeeded
    if letter in "SP":
        assert world.page_in((GFN, 1)).code.succeeded
    if letter == "P":
        assert world.page_out((GFN, 1)).code.succeeded
    if letter == "H":
        assert world.share((GFN, 1)).code.succeeded
    assert world.states()[GFN] == letter
    world.uv.asked.clear()
    return world


class Seen(NamedTuple):
    """What an event did: the letter after it, the code, the ultracalls, the change of device pages."""

    next_state: str
    code: str
    ultracalls: list[str]
    pool: int


EVENTS: dict[str, Callable[[HypervisorUnderTest], object]] = {
    "H_SVM_PAGE_IN": lambda world: world.page_in((GFN, 1)),
    "H_SVM_PAGE_IN shared": lambda world: world.share((GFN, 1)),
    "H_SVM_PAGE_OUT": lambda world: world.page_out((GFN, 1)),
    "host touch": lambda world: world.read(GFN),
    "unmap": lambda world: world.unmap(GFN),
    "INIT_DONE": lambda world: world.init_done(),
    "INIT_ABORT": lambda world: world.init_abort(),
    "reset": lambda world: world.reset(),
}
OUT = ["UV_PAGE_OUT"]
IN = ["UV_PAGE_IN"]
INVAL = ["UV_PAGE_INVAL"]
END = ["UV_SVM_TERMINATE"]
RESET = ["UV_UNREGISTER_MEM_SLOT", "UV_SVM_TERMINATE", "UV_WRITE_PATE"]
CELLS: dict[str, dict[str, Seen]] = {
    "H_SVM_PAGE_IN": {
        "N": Seen("S", "H_SUCCESS", IN, 1),
        "S": Seen("S", "H_PARAMETER", [], 0),
        "P": Seen("S", "H_SUCCESS", IN, 1),
        "H": Seen("S", "H_SUCCESS", IN, 1),
    },
    "H_SVM_PAGE_IN shared": {
        "N": Seen("H", "H_SUCCESS", IN, 0),
        "S": Seen("H", "H_SUCCESS", IN, -1),
        "P": Seen("H", "H_SUCCESS", IN, 0),
        "H": Seen("H", "H_SUCCESS", IN, 0),
    },
    "H_SVM_PAGE_OUT": {
        "N": Seen("N", "H_SUCCESS", [], 0),
        "S": Seen("P", "H_SUCCESS", OUT, -1),
        "P": Seen("P", "H_SUCCESS", [], 0),
        "H": Seen("H", "H_SUCCESS", [], 0),
    },
    "host touch": {
        "N": Seen("N", "", [], 0),
        "S": Seen("P", "", OUT, -1),
        "P": Seen("P", "", [], 0),
        "H": Seen("H", "", [], 0),
    },
    "unmap": {
        "N": Seen("N", "OK", [], 0),
        "S": Seen("S", "OK", [], 0),
        "P": Seen("P", "OK", [], 0),
        "H": Seen("H", "OK", INVAL, 0),
    },
    "INIT_DONE": {
        "N": Seen("S", "H_SUCCESS", [], 1),
        "S": Seen("S", "H_SUCCESS", [], 0),
        "P": Seen("P", "H_SUCCESS", [], 0),
        "H": Seen("H", "H_SUCCESS", [], 0),
    },
    "INIT_ABORT": {
        "N": Seen("N", "H_PARAMETER", END, 0),
        "S": Seen("N", "H_PARAMETER", OUT + END, -1),
        "P": Seen("N", "H_PARAMETER", OUT + IN + OUT + END, 0),
        "H": Seen("N", "H_PARAMETER", END, 0),
    },
    "reset": {
        "N": Seen("N", "OK", RESET, 0),
        "S": Seen("N", "OK", RESET, -1),
        "P": Seen("N", "OK", RESET, 0),
        "H": Seen("N", "OK", RESET, 0),
    },
}


def happens(world: HypervisorUnderTest, event: str) -> Seen:
    """Let an event happen and return what it did, to the one GFN that the VM has."""
    before = world.used
    answer = EVENTS[event](world)
    name = ""
    if isinstance(answer, Reply):
        name = answer.code.name
    elif isinstance(answer, Outcome):
        name = answer.errno.name
    return Seen(world.states()[GFN], name, world.uv.names, world.used - before)


@pytest.mark.parametrize("letter", "NSPH")
@pytest.mark.parametrize("event", EVENTS)
def test_every_cell(event: str, letter: str) -> None:
    world = transient(letter, pages=GFN + 1)
    if event == "INIT_DONE":
        world.page_in((0, GFN))
    assert happens(world, event) == CELLS[event][letter]
    assert world.used == (0 if event in {"INIT_ABORT", "reset"} else world.states().count("S"))
    assert world.sound()


@pytest.mark.parametrize("event", ["H_SVM_PAGE_IN", "H_SVM_PAGE_IN shared", "H_SVM_PAGE_OUT"])
def test_a_gfn_in_no_slot_is_h_parameter(event: str) -> None:
    world = transient("N", pages=GFN + 1)
    call = {
        "H_SVM_PAGE_IN": world.page_in,
        "H_SVM_PAGE_IN shared": world.share,
        "H_SVM_PAGE_OUT": world.page_out,
    }
    reply = call[event]((GFN + 1, 1))
    assert (reply.code.name, refused(reply)) == ("H_PARAMETER", [(GFN + 1, 1, "H_PARAMETER")])
    assert world.uv.asked == []


def test_a_host_touch_in_no_slot_is_a_fault() -> None:
    world = transient("N")
    for outcome in (world.read(9000), world.write(9000, b"x")):
        assert getattr(outcome, "errno", None) is Errno.EFAULT


@pytest.mark.parametrize("letter", "NSPH")
def test_without_a_device_page_nothing_becomes_secure(letter: str) -> None:
    world = transient(letter, device_pages=1)
    if letter != "S":
        world.page_in((0, 1))
    world.uv.asked.clear()
    before = world.hv.digest()
    assert world.page_in((GFN, 1)).code.name == "H_PARAMETER"
    assert world.uv.asked == []
    assert world.hv.digest() == before


@pytest.mark.parametrize(
    ("event", "letter", "ultracall"),
    [
        ("H_SVM_PAGE_IN", "N", "UV_PAGE_IN"),
        ("H_SVM_PAGE_IN", "P", "UV_PAGE_IN"),
        ("H_SVM_PAGE_IN", "H", "UV_PAGE_IN"),
        ("H_SVM_PAGE_IN shared", "N", "UV_PAGE_IN"),
        ("H_SVM_PAGE_IN shared", "S", "UV_PAGE_IN"),
        ("H_SVM_PAGE_IN shared", "P", "UV_PAGE_IN"),
        ("H_SVM_PAGE_IN shared", "H", "UV_PAGE_IN"),
        ("H_SVM_PAGE_OUT", "S", "UV_PAGE_OUT"),
    ],
)
@pytest.mark.parametrize("code", [UCode.U_P2, UCode.U_P3, UCode.U_PARAMETER, UCode.U_STATE])
def test_what_the_ultravisor_refuses_changes_nothing(
    event: str, letter: str, ultracall: str, code: UCode
) -> None:
    world = transient(letter)
    before = world.hv.digest(), world.used
    world.uv.answers(ultracall, refuse(code))
    seen = happens(world, event)
    assert seen == Seen(letter, "H_PARAMETER", [ultracall], 0)
    assert (world.hv.digest(), world.used) == before
    assert world.sound()


def test_a_page_that_nobody_touched_is_secured_without_an_ultracall() -> None:
    world = transient("N")
    assert world.page_in((GFN + 1, 2)).code.succeeded
    assert world.uv.asked == []
    assert (world.states()[GFN : GFN + 3], world.used) == ("NSS", 2)


def test_a_page_that_was_shared_is_offered_though_nobody_wrote_to_it() -> None:
    world = transient("N")
    world.share((GFN + 1, 1))
    world.uv.asked.clear()
    world.page_in((GFN + 1, 1))
    assert world.uv.names == ["UV_PAGE_IN"]


def test_contents_go_in_come_out_encrypted_and_go_in_again() -> None:
    world = transient("S")
    assert world.uv.pages[GFN][1].startswith(TEXT)
    assert world.normal_page(GFN) == bytes(1 << 16)
    seen = world.read(GFN, len(TEXT))
    assert seen == bytes(255 - byte for byte in TEXT)
    assert world.page_in((GFN, 1)).code.succeeded
    assert world.uv.pages[GFN] == ("S", TEXT.ljust(1 << 16, b"\0"))
    assert world.normal_page(GFN) == bytes(1 << 16)
