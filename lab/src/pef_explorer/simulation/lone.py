"""Actions that run alone, from their beginning to their end, with everything judged at each step."""

from typing import Any, Final

from pef_explorer.actions.move import VMM
from pef_explorer.actions.names import ActionName
from pef_explorer.actions.outcome import is_success
from pef_explorer.machines.open_call import Pending
from pef_explorer.machines.wire import NotDone
from pef_explorer.simulation.chains import Chain
from pef_explorer.simulation.events import Seed, Start, token_of
from pef_explorer.simulation.judge import Broken, Judge
from pef_explorer.simulation.machines import Machines
from pef_explorer.simulation.oracle import SimulationOracle
from pef_explorer.simulation.pages import Watch
from pef_kit.core.effects import Operation, PeerFailure
from pef_kit.core.life import Ended
from pef_protocol.events import Side
from pef_ultravisor.access import AccessFailure

LONGEST: Final = 20_000
"""Events in which every open call must have ended, once no other begins."""
OUTCOMES: Final = (AccessFailure, PeerFailure, Ended, NotDone)
"""How an operation may fail."""


class LoneActions:
    """Both machines with what judges them. `count`: events that were judged so far."""

    def __init__(self, seed: Seed) -> None:
        self.machines = Machines(seed)
        self.oracle = SimulationOracle(seed.design)
        self.judge = Judge(self.machines, self.oracle, seed.design)
        self.count = 0

    def must(self, operation: Operation[Any], vm: int) -> None:
        """Do an operation of the VMM alone; raise Broken where it does not succeed."""
        start = Start(-1, 0, 0, vm, VMM, ActionName.HOST_READ, 0, 1)
        outcome = self._to_its_end(Chain(operation, self.machines, Side.HYPERVISOR, start))
        if not is_success(outcome):
            raise Broken("what_is_asked_alone_succeeds", f"VM {vm}: {outcome}")

    def alone(self, start: Start) -> None:
        """Do an action alone, with everything judged; raise Broken where it does not succeed."""
        watch = self.oracle.begin(start, token_of(start))
        operation, side = self.machines.act(start)
        outcome = self._to_its_end(Chain(operation, self.machines, side, start))
        self.judge_outcome(watch, outcome)
        if not is_success(outcome):
            where = f"VM {start.vm}, GFN {start.gfn}"
            raise Broken("what_is_asked_alone_succeeds", f"{where}: {start.action}: {outcome}")

    def _to_its_end(self, chain: Chain) -> Any:
        for _ in range(LONGEST):
            self.count += 1
            self.judge.observe()
            if chain.pending is Pending.ENDED:
                return chain.outcome
            chain.go_on()
        raise Broken("every_call_ends", f"VM {chain.start.vm}: {chain.start.action} alone does not end")

    def judge_outcome(self, watch: Watch, outcome: Any) -> None:
        """Judge the outcome of an action."""
        if isinstance(outcome, Exception) and not isinstance(outcome, OUTCOMES):
            raise outcome
        content = isinstance(outcome, bytes | bytearray | memoryview)
        if content and watch.found is not None:
            self.judge.judge_seen(watch, bytes(outcome))
        life = self.machines.life(watch.start.vm + 1)
        self.oracle.end(watch, succeeded=is_success(outcome), life=life)
        self.judge.judge_stored(watch.token)
