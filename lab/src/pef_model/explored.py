"""What the explorer sees of one GFN at rest, with the services' own code."""

from typing import Final

from pef_explorer.invariants import EVERY_CALL_ENDS, INVARIANTS
from pef_explorer.plan import Part, Plan
from pef_explorer.search.graph import BROKEN
from pef_explorer.search.search import FIRST, Search
from pef_explorer.world.records import SettledState
from pef_explorer.world.world import World
from pef_hypervisor.gfn.columns import HOST_POPULATED, SENT, STAND_IN
from pef_model.rest_state import NOT_OPEN, RestState, Seen
from pef_protocol.states import HvVmState
from pef_ultravisor.gfn.columns import IMPORTED

JUDGED_BY_NOBODY: Final = frozenset({EVERY_CALL_ENDS, *(each.__name__ for each in INVARIANTS)})
"""All invariants: states are compared here, whatever they break."""
SEALED: Final = b"C"
"""Where the oracle says that bytes of a page come from that are those which were sealed last."""


class RestSearch(Search):
    """A search that keeps what it sees at rest. `at_rest`: the state of each number that is one at rest."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.at_rest = {FIRST: rest_state(World(plan))}

    def _push(self, world: World, depth: int, number: int, settled: SettledState) -> None:
        world.put_back(settled)
        self.at_rest[number] = rest_state(world)
        super()._push(world, depth, number, settled)

    @property
    def seen(self) -> Seen:
        """Return what was seen so far."""
        begin, end, _ = self.graph.columns()
        after: dict[int, set[int]] = {}
        for one, other in zip(begin.tolist(), end.tolist(), strict=True):
            after.setdefault(one, set()).add(other)
        steps = {
            (state, self.at_rest[other])
            for number, state in self.at_rest.items()
            for other in self._next(number, after)
        }
        return Seen(frozenset(self.at_rest.values()), frozenset(steps))

    def _next(self, number: int, after: dict[int, set[int]]) -> set[int]:
        """Return the numbers of the states at rest that come next, through states that are not at rest."""
        found: set[int] = set()
        ahead, met = [number], {BROKEN}
        while ahead:
            new = after.get(ahead.pop(), set()) - met
            met |= new
            found |= new & self.at_rest.keys()
            ahead += new - self.at_rest.keys()
        return found


def explored(plan: Plan) -> Seen:
    """Search a plan of one GFN to its end, and return what was seen at rest."""
    search = RestSearch(plan)
    search.go_on(lambda _: False)
    return search.seen


def rest_state(world: World) -> RestState:
    """Return what a world of one GFN is at rest."""
    now, suspended = world.now, world.suspended
    vm, must_abort, abort_due, must_reset, _ = now.hv_vm
    svm, _, whole, _ = now.uv_vm or (-1, False, False, 0)
    marks, page = now.hv_marks[0], world.system.normal_page(0)
    sealed = page is not None and world.oracle.origin(0, now.normal[page]) == SEALED
    phase, failed = NOT_OPEN, False
    if suspended is not None:
        # An image that nobody asks for has one phase less, the second.
        skipped = world.plan.image[0] is Part.UNMIGRATED and suspended.place > 0
        phase, failed = suspended.place + skipped, suspended.failure is not None
    return RestState(
        svm=svm + 1,
        whole=int(whole),
        ultravisor=now.uv[0],
        imported=int(now.uv_marks[0] & IMPORTED != 0),
        mapped=int(now.mapped[0] != 0),
        recorded=int(now.recorded[0]),
        genuine=int(now.recorded[0] and sealed),
        vm=vm,
        must_abort=int(must_abort),
        abort_due=int(abort_due),
        must_reset=int(must_reset),
        registered=int(any(now.registered)),
        hypervisor=now.hv[0],
        host_populated=int(marks & HOST_POPULATED != 0),
        sent=int(vm != HvVmState.SECURE and marks & SENT != 0),
        stand_in=int(marks & STAND_IN != 0),
        named=int(now.named),
        secure=int(world.oracle.secure),
        phase=phase,
        failed=int(failed),
    )
