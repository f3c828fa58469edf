"""What `--with` switches on: the search that leaves things out comes to the same states as one that does not.

The other search has one scope, in which everything may begin that is possible. Neither lets a reset begin
beside what the host does between two phases of a UV_ESM. With old ciphertext no page is imported here: who
wrote into a page that is out does not count, so which of two such states is met first decides what is kept.
"""

from typing import Any, Final

import pytest

from pef_explorer.actions.move import Move
from pef_explorer.plan import Extra, Part, Plan
from pef_explorer.search.expansion import RESETS, Expansion
from pef_explorer.search.search import Search
from pef_explorer.world.possible_moves import possible_moves
from pef_explorer.world.state import WorldState
from pef_protocol.designs import Design

B, S, U = Part.BROUGHT, Part.SHARED, Part.UNMIGRATED
SHARING: Final = frozenset({"share two", "unshare two", "unmap", "hot-add"})
KEEPING: Final = frozenset({"keep ciphertext", "write kept ciphertext", "load"})
PLUGGING: Final = frozenset({"hot-add", "hot-remove", "host read"})


def plan_with(extra: Extra, part: Part, plug: int, calls: int = 1) -> Plan:
    """Return a plan of one GFN, and of another one that can be plugged in if `plug` says so."""
    return Plan(Design.TRACKED, (part,), plug, calls=calls, extras=frozenset({extra}))


def all_moves(expansion: Expansion, *, whole: bool) -> list[Move]:
    """Return every move that is possible; `whole` makes no difference."""
    between = expansion.world.esm_stands
    return [move for move, _ in possible_moves(expansion.world) if not (between and move.action in RESETS)]


def to_the_end(plan: Plan) -> Search:
    """Search a plan to its end."""
    search = Search(plan)
    search.go_on(lambda _: False)
    assert search.found().complete
    return search


def quiescent(search: Search) -> set[bytes]:
    """Return the quiescent states that a search has come to."""
    return {digest for digest, number in search.graph.numbers.items() if number in search.graph.settled}


def agree(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> int:
    """Compare both searches of a plan; return how many quiescent states they have."""
    reduced = to_the_end(plan)
    monkeypatch.setattr(Search, "_scopes", lambda *_: [])
    monkeypatch.setattr(Expansion, "_allowed", all_moves)
    unreduced = to_the_end(plan)
    assert quiescent(reduced) == quiescent(unreduced)
    assert reduced.found().violations == unreduced.found().violations == ()
    return len(quiescent(reduced))


@pytest.mark.parametrize(
    ("extra", "part", "plug"),
    [
        (Extra.OLD_CIPHERTEXT, U, 0),
        pytest.param(Extra.OLD_CIPHERTEXT, S, 1, marks=pytest.mark.verify),
        pytest.param(Extra.MEASURED_PLUG, U, 1, marks=pytest.mark.verify),
        pytest.param(Extra.MEASURED_PLUG, S, 1, marks=pytest.mark.verify),
        pytest.param(Extra.RANGE, U, 1, marks=pytest.mark.verify),
        pytest.param(Extra.RANGE, B, 1, marks=pytest.mark.verify),
        pytest.param(Extra.RANGE, S, 1, marks=pytest.mark.verify),
    ],
)
def test_one_call_at_a_time_leads_to_the_same_states(
    extra: Extra, part: Part, plug: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = len(quiescent(to_the_end(Plan(Design.TRACKED, (part,), plug, calls=1))))
    assert agree(plan_with(extra, part, plug), monkeypatch) > usual - (extra is Extra.RANGE)


@pytest.mark.verify
@pytest.mark.parametrize(
    ("extra", "plug", "names"),
    [(Extra.RANGE, 1, SHARING), (Extra.OLD_CIPHERTEXT, 0, KEEPING), (Extra.MEASURED_PLUG, 1, PLUGGING)],
)
def test_two_calls_that_meet_lead_to_the_same_states(
    extra: Extra, plug: int, names: frozenset[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside UV_ESM only some actions begin, or the other search is large."""
    init = WorldState.__init__

    def with_some(world: Any, plan: Plan) -> None:
        init(world, plan)
        world.starts = [each for each in world.starts if each[0].action in names]

    monkeypatch.setattr(WorldState, "__init__", with_some)
    assert agree(plan_with(extra, U, plug, calls=2), monkeypatch) > 10
