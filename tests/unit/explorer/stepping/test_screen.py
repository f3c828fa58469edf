"""A frame as text: both tables side by side, nested calls, codes with their reasons, moves and verdicts."""

import io
from pathlib import Path

from rich.console import Console

from pef_explorer.session.session import Session
from pef_explorer.stepping.screen import screen_of
from pef_lab.replay.counterexample import read

FOLDER = Path(__file__).parents[4] / "docs" / "counterexamples"


def shown(session: Session, **named: object) -> list[str]:
    text = io.StringIO()
    Console(file=text, width=120).print(screen_of(session.frame(), **named))  # type: ignore[arg-type]
    return [line.rstrip() for line in text.getvalue().splitlines()]


def test_a_frame_shows_what_is_open_and_what_differs() -> None:
    session = Session.of_file(read(FOLDER / "broken-the-tables-agree.json"))
    session.goto(3)
    lines = shown(session)
    assert lines[0].startswith("design broken, node 3 of 12; calls are open")
    assert "0    brought     NORMAL      ~  SECURE      none             zero" in lines
    assert (
        "Open: guest 0: UV_ESM (ultravisor) > H_SVM_INIT_START (hypervisor); ultravisor answers U_SUCCESS"
        in lines
    )
    assert "   3     hypervisor ▸ ultravisor: UV_REGISTER_MEM_SLOT" in lines
    assert any(line.startswith("  1 guest 0: go on (read U_SUCCESS)") for line in lines)
    assert "20 invariants hold on the way here." in lines
    assert not [line for line in lines if "no slot holds" in line]
    assert "    vmm: host read 2: no slot holds GFN 2" in shown(session, all_moves=True)


def test_what_is_broken_and_why_a_code_came_is_said() -> None:
    session = Session.of_file(read(FOLDER / "broken-the-guest-finds-what-it-wrote.json"))
    session.run("end")
    lines = shown(session, message="It is so.")
    broken = [line for line in lines if line.startswith("BROKEN")]
    assert [line.partition(": ")[0] for line in broken] == [
        "BROKEN the_tables_agree, since node 13",
        "BROKEN the_guest_finds_what_it_wrote, since node 20",
    ]
    assert broken[1].endswith(": GFN 1 holds other bytes, not what was last written")
    assert "18 invariants hold on the way here." in lines
    assert lines[-1] == "It is so."
    session.goto(11)
    reason = "[check state: It refuses a GFN that is not shared. ultravisor.rst UV_PAGE_INVAL]"
    assert any(f"hypervisor ◂ ultravisor: U_P2  {reason}" in line for line in shown(session))
