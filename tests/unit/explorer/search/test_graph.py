"""The graph: states by digest, shortest ways, and the states from which nothing ends."""

import pytest

from pef_explorer.actions.move import Move
from pef_explorer.search.graph import BROKEN, Breach, Graph, digest_of

STEPS = {name: Move("vmm", name) for name in "abcdefgh"}


def graph_of(*edges: tuple[int, int, str], settled: tuple[int, ...] = ()) -> Graph:
    """Return a graph of the states that the edges name; an edge is spelled by its letters."""
    graph = Graph()
    for number in range(1, 1 + max(max(edge[:2]) for edge in edges)):
        assert graph.number(("state", number)) == (number, True)
    for begin, end, letters in edges:
        graph.join(begin, end, tuple(STEPS[letter] for letter in letters))
    graph.settled.update(settled)
    return graph


def test_states_are_numbered_by_their_digest() -> None:
    graph = Graph()
    assert graph.number((1, b"x", ("y", None, True))) == (1, True)
    assert graph.number((1, b"x", ("y", None, False))) == (2, True)
    assert graph.number((1, b"x", ("y", None, True))) == (1, False)
    assert len(graph) == 2
    assert len(digest_of((1,))) == 16


def test_the_shortest_way_is_counted_in_moves_not_in_edges() -> None:
    graph = graph_of((1, 2, "abc"), (1, 3, "d"), (3, 2, "e"), (2, 4, "f"), (1, 4, "abcdef"))
    paths = graph.paths()
    assert paths.far == [-1, 0, 2, 1, 3]
    assert paths.to(4) == tuple(STEPS[letter] for letter in "def")
    assert paths.to(1) == ()


def test_what_no_way_leads_to_is_told_as_such() -> None:
    graph = graph_of((1, 2, "a"), (3, 2, "b"))
    assert graph.paths().far == [-1, 0, 1, -1]


def test_a_way_does_not_lead_on_from_what_is_broken() -> None:
    graph = graph_of((1, 2, "a"))
    graph.ended(1, STEPS["b"])
    assert graph.paths().far == [-1, 0, 1]


@pytest.mark.parametrize(
    ("edges", "settled", "stuck"),
    [
        ([(1, 2, "a"), (2, 3, "b")], (3,), []),
        ([(1, 2, "a"), (2, 3, "b"), (2, 4, "c"), (4, 5, "d"), (5, 4, "e")], (3,), [4, 5]),
        ([(1, 2, "a"), (2, 1, "b")], (), [1, 2]),
        ([(1, 2, "a"), (2, 2, "b"), (2, 3, "c"), (3, 1, "d")], (1,), []),
        ([(1, 2, "a")], (1,), [2]),
    ],
)
def test_states_from_which_nothing_still_can_be_reached(
    edges: list[tuple[int, int, str]], settled: tuple[int, ...], stuck: list[int]
) -> None:
    assert list(graph_of(*edges, settled=settled).without_end()) == stuck


def test_what_is_not_finished_may_lead_anywhere() -> None:
    graph = graph_of((1, 2, "a"), (2, 3, "b"), (3, 2, "c"), (1, 4, "d"), (4, 4, "e"))
    assert list(graph.without_end()) == [1, 2, 3, 4]
    assert list(graph.without_end([3])) == [4]


def test_a_breach_is_an_end() -> None:
    graph = graph_of((1, 2, "a"))
    assert list(graph.without_end()) == [1, 2]
    graph.ended(2, STEPS["b"])
    assert list(graph.without_end()) == []
    assert graph.ends(1) == (2, BROKEN)


def test_of_the_breaches_of_an_invariant_the_nearest_are_kept() -> None:
    graph = graph_of((1, 2, "a"))
    reported = {far: Breach(1, (STEPS["a"],), "the_tables_agree", f"{far} moves away") for far in (4, 7, 2)}
    for far, breach in reported.items():
        graph.add_breach(far, breach)
    graph.add_breach(9, Breach(2, (STEPS["b"],), "another", "is kept beside it"))
    assert graph.nearest == {("the_tables_agree", False): 2, ("another", False): 9}
    assert [breach.sentence for breach in graph.breaches] == [
        "4 moves away",
        "2 moves away",
        "is kept beside it",
    ]


def test_the_same_moves_are_spelled_once() -> None:
    graph = graph_of((1, 2, "ab"), (2, 1, "ab"), (1, 1, "c"))
    begin, end, length = graph.columns()
    assert (begin.tolist(), end.tolist(), length.tolist()) == ([1, 2, 1], [2, 1, 1], [2, 2, 1])
    assert graph.spelled(0) is graph.spelled(1)
    assert graph.edges == 3
