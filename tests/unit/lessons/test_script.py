import pytest

from pef_explorer.actions.move import Move
from pef_explorer.machines.faults import Fault
from pef_explorer.session.errors import NotPossible
from pef_lessons.all_lessons import LESSONS
from pef_lessons.script import make_moves, move_of


@pytest.mark.parametrize(
    ("line", "move"),
    [
        ("guest 0: store 1", Move("guest 0", "store", 1)),
        ("guest 0: UV_ESM with a bad image", Move("guest 0", "UV_ESM with a bad image")),
        ("vmm: hot-add", Move("vmm", "hot-add")),
        ("vmm: go on (kept)", Move("vmm", "go on", -1, Fault.KEPT)),
        ("network: UV_PAGE_OUT arrives again 0", Move("network", "UV_PAGE_OUT arrives again", 0)),
    ],
)
def test_a_line_is_a_move(line: str, move: Move) -> None:
    assert move_of(line) == move


@pytest.mark.parametrize("line", ["", "store 1", "vmm: go on (stolen)"])
def test_another_line_is_none(line: str) -> None:
    with pytest.raises(ValueError, match=r"not a move|stolen"):
        move_of(line)


def test_an_action_goes_on_to_its_end_where_the_line_says_so() -> None:
    session = LESSONS["7"].session()
    make_moves(session, ["guest 0: UV_ESM"])
    assert session.at == 1
    make_moves(session, ["guest 0: go on ..."])
    assert session.nodes[session.at].outcome == "ends U_SUCCESS"


def test_a_move_that_is_not_possible_says_why() -> None:
    with pytest.raises(NotPossible):
        make_moves(LESSONS["7"].session(), ["guest 0: share 1"])
