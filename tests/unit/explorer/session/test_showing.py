"""What the machines show at a node: both sides' states, marks, views of a page, and whether they agree."""

from pef_explorer.actions.move import GO_ON, GUESTS, MEMORY, VMM, Move
from pef_explorer.actions.table import UV_ESM
from pef_explorer.plan import Part
from pef_explorer.session.files import plan_of_session
from pef_explorer.session.frame import Frame, GfnRun
from pef_explorer.session.session import Session
from pef_protocol.designs import Design

VCPU = GUESTS[0]


def secure_session(design: Design = Design.TRACKED) -> Session:
    session = Session(plan_of_session(design, (Part.BROUGHT, Part.UNMIGRATED)))
    session.move(Move(VCPU, UV_ESM))
    session.run("quiescent")
    return session


def views(frame: Frame, gfn: int) -> tuple[str, str, str, str, str]:
    run: GfnRun = frame.gfns[gfn]
    return run.hypervisor, run.ultravisor, run.joint, run.guest_page, run.host_page


def test_a_page_in_two_views() -> None:
    session = secure_session()
    session.move(Move(VCPU, "store", 0))
    assert views(session.frame(), 0) == ("SECURE", "SECURE", "agrees", "as written", "zero")
    session.move(Move(MEMORY, "page out", 0))
    assert views(session.run("quiescent"), 0) == (
        "PAGED_OUT",
        "PAGEDOUT",
        "agrees",
        "as written",
        "ciphertext",
    )
    guest, host = session.page(0)
    assert guest is not None
    assert host is not None
    assert guest != host
    session.move(Move(VMM, "host write", 0))
    assert views(session.frame(), 0)[3:] == ("none", "other")
    assert session.page(0)[0] is None


def test_a_gfn_in_no_slot_is_nothing() -> None:
    frame = secure_session().frame()
    assert views(frame, 2) == ("nothing", "nothing", "agrees", "none", "none")
    assert frame.gfns[2].part == "plugged"


def test_what_differs_is_in_flight_while_something_is_open() -> None:
    session = secure_session()
    session.move(Move(VCPU, "share", 0))
    seen = {views(session.frame(), 0)[2]}
    while session.frame().calls:
        seen.add(views(session.move(Move(VCPU, GO_ON)), 0)[2])
    assert seen == {"in flight", "agrees"}
    broken = secure_session(Design.BROKEN).frame()
    assert (views(broken, 1)[2], broken.violated) == ("differs", True)


def test_the_vm_and_its_marks() -> None:
    session = Session(plan_of_session(Design.TRACKED, (Part.BROUGHT,)))
    assert (session.frame().vm.hypervisor, session.frame().vm.ultravisor) == ("NORMAL", "no SVM")
    session.move(Move(VCPU, UV_ESM))
    marks, vm = set[str](), session.frame().vm
    while session.frame().calls:
        vm = session.move(Move(VCPU, GO_ON)).vm
        marks |= {*vm.marks.hypervisor, *vm.marks.ultravisor}
    assert {"must abort", "H_SVM_INIT_DONE outstanding"} <= marks
    assert (vm.hypervisor, vm.ultravisor, vm.device_pages, vm.frames) == (
        "SECURE",
        "SECURE",
        (1, 64),
        (1, 64),
    )


def test_open_calls_are_shown_in_the_order_in_which_they_began() -> None:
    session = secure_session()
    session.move(Move(MEMORY, "page out", 0))
    frame = session.move(Move(VCPU, "share", 1))
    assert [(call.actor, call.action, call.gfn) for call in frame.calls] == [
        (MEMORY, "page out", 0),
        (VCPU, "share", 1),
    ]
    assert [(each.side, each.call) for each in frame.calls[1].stack] == [("ultravisor", "UV_SHARE_PAGE")]
    assert frame.calls[0].waits_for == "hypervisor asks UV_PAGE_OUT"
