"""The arrows of moves: who calls whom, how deep, with which code and fault, and what it cost."""

from pef_explorer.actions.move import GO_ON, GUESTS, VMM, Move
from pef_explorer.actions.table import UV_ESM
from pef_explorer.machines.faults import Fault
from pef_explorer.plan import Part
from pef_explorer.session.arrows import MADE_UP
from pef_explorer.session.files import plan_of_session
from pef_explorer.session.frame import Arrow
from pef_explorer.session.session import Session
from pef_protocol.designs import Design
from pef_protocol.quantities import PAGE_SIZE

VCPU = GUESTS[0]
ESM, ON = Move(VCPU, UV_ESM), Move(VCPU, GO_ON)


def drawn(*moves: Move, design: Design = Design.TRACKED) -> tuple[list[Arrow], Session]:
    session = Session(plan_of_session(design, (Part.BROUGHT, Part.UNMIGRATED)))
    for move in moves:
        session.step(move)
    return [arrow for node in session.path() for arrow in node.made.arrows], session


def line(arrow: Arrow) -> str:
    return f"{arrow.depth} {arrow.start} > {arrow.end}: {arrow.text}"


def test_calls_nest() -> None:
    arrows, _ = drawn(ESM, ON, ON, ON, ON, ON)
    assert [line(arrow) for arrow in arrows] == [
        "0 guest 0 > ultravisor: UV_ESM",
        "1 ultravisor > hypervisor: H_SVM_INIT_START",
        "2 hypervisor > ultravisor: UV_REGISTER_MEM_SLOT",
        "2 ultravisor > hypervisor: U_SUCCESS",
        "1 hypervisor > ultravisor: H_SUCCESS",
        "1 ultravisor > ultravisor: UV_ESM goes on: pages of the image",
    ]
    assert [arrow.kind for arrow in arrows] == ["ask", "ask", "ask", "answer", "answer", "note"]
    assert {arrow.call for arrow in arrows} == {1}
    assert [arrow.node for arrow in arrows] == [1, 2, 3, 4, 5, 6]


def test_two_actions_have_two_numbers() -> None:
    arrows, _ = drawn(ESM, Move(VMM, "host write", 1), ON)
    assert [(arrow.call, arrow.text) for arrow in arrows] == [
        (1, "UV_ESM"),
        (2, "host write 1"),
        (2, "OK"),
        (1, "H_SVM_INIT_START"),
    ]


def test_a_refusal_on_the_wire_shows_its_fault_and_a_code_its_check() -> None:
    arrows, session = drawn(ESM, ON._replace(fault=Fault.REFUSED), ON)
    asked, answered = arrows[1:3]
    assert (asked.fault, asked.code) == ("refused", None)
    assert answered.code == answered.text
    assert answered.why == MADE_UP
    assert session.nodes[2].made.cost.hypercalls == 0


def test_an_action_that_ends_at_once_says_why_it_was_refused() -> None:
    session = Session(plan_of_session(Design.TRACKED, (Part.BROUGHT,)))
    session.step(Move(VCPU, "share", 0), listed=False)
    (_, answer) = session.nodes[1].made.arrows
    assert (answer.text, answer.depth, answer.start, answer.end) == ("U_INVALID", 0, "ultravisor", VCPU)
    assert answer.why is not None
    assert (answer.why.check, answer.why.sentence) == ("secure", "It refuses a VM that is not secure.")


def test_calls_gfns_and_bytes_are_counted() -> None:
    """UV_ESM of a page that the guest has written: the page goes over the bus once."""
    session = Session(plan_of_session(Design.TRACKED, (Part.BROUGHT,), 0))
    session.move(Move(VCPU, "store", 0))
    session.move(ESM)
    session.run("quiescent")
    cost = session.frame().cost
    asked = [a.text for node in session.path() for a in node.made.arrows if a.kind == "ask"]
    assert cost.ultracalls == sum(text.startswith("UV_") for text in asked)
    assert cost.hypercalls == sum(text.startswith("H_") for text in asked)
    assert (cost.gfns, cost.bytes) == (2, PAGE_SIZE)
