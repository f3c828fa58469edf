"""The loop of `pef step`: each key does what the help says of it."""

import io
import json
from pathlib import Path

from rich.console import Console

from pef_explorer.plan import Part
from pef_explorer.session.files import plan_of_session
from pef_explorer.session.session import Session
from pef_explorer.stepping.keys import LineKeys
from pef_explorer.stepping.screen import HELP
from pef_explorer.stepping.terminal import step_through
from pef_lab.replay.counterexample import read
from pef_protocol.designs import Design

FOLDER = Path(__file__).parents[4] / "docs" / "counterexamples"


def stepped(typed: str, session: Session | None = None, save: Path | None = None) -> tuple[Session, str]:
    """Type lines into a session; return the session that the person was in at the end, and what was shown."""
    if session is None:
        session = Session(plan_of_session(Design.BROKEN, (Part.BROUGHT, Part.UNMIGRATED)))
    shown = io.StringIO()
    console = Console(file=shown, width=200)
    return step_through(session, save, console=console, keys=LineKeys(io.StringIO(typed))), shown.getvalue()


def of_file(name: str) -> Session:
    return Session.of_file(read(FOLDER / f"{name}.json"))


def test_j_goes_along_a_file_and_k_back() -> None:
    session, shown = stepped("jjj\nk\n", of_file("broken-the-tables-agree"))
    assert session.at == 2
    assert [line.split(";")[0] for line in shown.splitlines() if line.startswith("design ")] == [
        "design broken, node 0 of 12",
        "design broken, node 3 of 12",
        "design broken, node 2 of 12",
    ]


def test_a_number_makes_a_move_and_j_lets_it_go_on() -> None:
    session, shown = stepped("1\nj\nq\nj\n")
    assert [node.label for node in session.path()] == ["start", "guest 0: UV_ESM", "guest 0: go on"]
    assert shown.count("design broken") == 3


def test_what_can_not_be_done_is_one_line() -> None:
    _, shown = stepped("j\n99\nk\nx\nf nonsense\nu\ng\n")
    for line in (
        "Nothing is open: choose a move by its number.",
        "There is no move 99.",
        "This is the start.",
        "There is no key 'x'; ? shows which there are.",
        "Which design? There are eager, ",
        "This session is no fork.",
        "Which node? Give its number.",
    ):
        assert line in shown


def test_f_makes_the_moves_on_another_design_and_u_goes_back() -> None:
    forked, shown = stepped("v\nf tracked\n", of_file("broken-the-tables-agree"))
    assert (forked.plan.design, forked.at, forked.frame().violated) == (Design.TRACKED, 12, False)
    assert "BROKEN the_tables_agree" in shown
    back, _ = stepped("v\nf tracked\nu\n", of_file("broken-the-tables-agree"))
    assert (back.plan.design, back.at) == (Design.BROKEN, 12)


def test_e_v_r_and_g_go_far() -> None:
    assert stepped("e\n", of_file("broken-the-tables-agree"))[0].at == 12
    assert stepped("e\ng 4\n", of_file("broken-the-tables-agree"))[0].at == 4
    session, _ = stepped("1\nr\n")
    assert session.frame().ended == "ends U_SUCCESS"


def test_the_help_names_every_key() -> None:
    assert all(line in stepped("?\n")[1] for line in HELP.splitlines())


def test_w_writes_a_counterexample_that_is_one(tmp_path: Path) -> None:
    file = tmp_path / "again.json"
    _, shown = stepped(f"v\nw {file}\n", of_file("broken-the-tables-agree"))
    found, before = read(file), read(FOLDER / "broken-the-tables-agree.json")
    assert found.steps == before.steps
    assert (found.invariant, found.tables, found.observations) == (
        before.invariant,
        before.tables,
        before.observations,
    )
    assert f"pef replay {file} plays them" in " ".join(shown.split())


def test_the_session_is_saved_at_the_end(tmp_path: Path) -> None:
    file = tmp_path / "session.json"
    session, _ = stepped("1\nj\n", save=file)
    content = json.loads(file.read_text())
    assert (content["format"], content["at"], len(content["nodes"])) == ("pef-session/1", 2, 2)
    assert session.at == 2
