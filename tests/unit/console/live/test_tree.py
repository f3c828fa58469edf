"""The tree of moves of a live session."""

import pytest

from pef_console.live.tree import MoveTree
from pef_console.stage import Move, NotPossible

SHARE = Move(actor="guest 0", action="share", gfn=1)
LOAD = Move(actor="guest 0", action="load", gfn=1)


def test_the_same_move_with_the_same_outcome_is_the_same_node() -> None:
    tree = MoveTree(9)
    tree.take(SHARE, "asks H_SVM_PAGE_IN", "share")
    tree.start()
    tree.take(SHARE, "asks H_SVM_PAGE_IN", "share")
    assert (tree.at, len(tree.nodes)) == (1, 2)
    tree.start()
    tree.take(SHARE, "ends U_BUSY", "share")
    assert (tree.at, tree.nodes[0].children) == (2, [1, 2])
    tree.start()
    assert [node.n for node in tree.forward_path()] == [2]


def test_a_move_after_a_page_was_looked_at_is_another_one() -> None:
    tree = MoveTree(9)
    tree.take(LOAD, "ends zero", "load")
    tree.start()
    tree.viewed.append(1)
    tree.take(LOAD, "ends zero", "load")
    assert tree.nodes[2].viewed == (1,)
    assert tree.viewed == []


def test_what_is_not_there_is_not_possible() -> None:
    tree = MoveTree(1)
    with pytest.raises(NotPossible, match="nothing was done"):
        tree.next_child()
    with pytest.raises(NotPossible, match="no node 7"):
        tree.path(7)
    tree.take(SHARE, "waits", "share")
    with pytest.raises(NotPossible, match="at most 1 moves"):
        tree.require_room()
