"""One run: a seed's events happen in simulated time, and every step is judged. No clock, no thread."""

import heapq
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

from pef_explorer.actions.move import VMM
from pef_explorer.actions.names import ActionName
from pef_explorer.machines.faults import Fault
from pef_explorer.machines.open_call import Pending
from pef_explorer.machines.wire import Message, NotDone
from pef_explorer.simulation.chains import Chain
from pef_explorer.simulation.events import (
    SIZE,
    Event,
    Kind,
    Partition,
    Restart,
    Seed,
    Start,
    Trouble,
    delay,
    token_of,
)
from pef_explorer.simulation.judge import Broken
from pef_explorer.simulation.lone import LONGEST, LoneActions
from pef_explorer.simulation.pages import Watch
from pef_protocol.events import Side

TIMES: Final[dict[Pending, tuple[int, int]]] = {
    Pending.REQUEST: (4, 20),
    Pending.REPLY: (4, 20),
    Pending.TRANSFER: (1, 6),
    Pending.WORK: (1, 6),
    Pending.PAUSE: (5, 50),
}
LATE: Final = (200, 600)
"""How long a delayed message takes."""
RESETS: Final = 1 << 19
"""Number of the first reset of a VM in which an operation was cut off: its operator makes it."""
NOT_READY: Final = 50
"""How long an actor waits to whom a side is not ready."""
AGAIN: Final = (1, 2000)
"""How long the second copy of a message takes."""


class Run(LoneActions):
    """A run under way."""

    def __init__(self, seed: Seed, events: Sequence[Event]) -> None:
        super().__init__(seed)
        self._seed = seed
        self._events = events
        self._troubles: dict[int, dict[int, Kind]] = defaultdict(dict)
        for each in events:
            if isinstance(each, Trouble):
                self._troubles[each.start][each.message] = each.kind
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._chains: dict[Chain, Watch | None] = {}
        self._queues: dict[tuple[int, str], deque[Start]] = defaultdict(deque)
        self._open = [0] * SIZE.vms
        self.now = self.round = self._pushed = self._since = 0
        self.actions = self.faults = 0
        self._heals = self._deaths = 0
        self._fitting: Chain | None = None
        """What the Hypervisor does since a side died, from its hello on."""
        self._lost = False
        """The Hypervisor died, and its VMs have not been made anew."""
        self._dead: list[Chain] = []

    def start(self) -> None:
        """Introduce both sides and create all VMs."""
        self.must(self.machines.introduce(), 0)
        self._make_vms()

    def close(self) -> None:
        """End every operation that is still open."""
        for chain in (*self._chains, *self._dead):
            chain.close()

    def _make_vms(self) -> None:
        for vm in range(SIZE.vms):
            self.must(self.machines.make_vm(), vm)

    # A round

    def run_round(self, round_: int) -> None:
        """Let a round's events happen; return once no call is open."""
        self.round, self.now = round_, 0
        for each in self._events:
            if not isinstance(each, Trouble) and each.round == round_:
                self._push(each.at, partial(self._arrive, each))
        self._since = 0
        while self._heap:
            self.now, _, happens = heapq.heappop(self._heap)
            self._since += 1
            if self._since > LONGEST:
                sentence = f"{len(self._chains)} calls are open {LONGEST} events after the last began"
                raise Broken("every_call_ends", sentence)
            happens()

    def _push(self, at: int, happens: Callable[[], None]) -> None:
        self._pushed += 1
        heapq.heappush(self._heap, (at, self._pushed, happens))

    def _arrive(self, event: Start | Restart | Partition) -> None:
        self._since = 0
        if isinstance(event, Restart):
            self._restart(Side(event.side))
            return
        if isinstance(event, Partition):
            self.faults += 1
            self._heals = max(self._heals, self.now + event.length)
            return
        queue = self._queues[event.vm, event.actor]
        queue.append(event)
        if len(queue) == 1:
            self._begin(event)

    def _begin(self, start: Start) -> None:
        self._since = 0
        if self.machines.apart or self._fitting:  # neither side admits anything
            self._push(self.now + NOT_READY, partial(self._begin, start))
            return
        self.actions += start.number < RESETS
        watch = self.oracle.begin(start, token_of(start))
        operation, side = self.machines.act(start)
        self._add(Chain(operation, self.machines, side, start), watch)

    def _add(self, chain: Chain, watch: Watch | None) -> None:
        self._chains[chain] = watch
        self._open[chain.start.vm] += 1
        self._settle(chain)

    def _step(self, chain: Chain) -> None:
        if chain in self._chains:
            chain.go_on(chain.fault)
            chain.fault = None
            self._settle(chain)

    def _settle(self, chain: Chain) -> None:
        """Judge what a call's step did; say when its next one comes, or that it has ended."""
        self._judge()
        for message in self.machines.kept:
            wait = delay(self._seed.number, chain.start.number, chain.steps, *AGAIN)
            self._push(self.now + wait, partial(self._arrives_again, message))
        self.machines.kept.clear()
        if chain.pending is Pending.ENDED:
            self._ended(chain)
            return
        chain.steps += 1
        low, high = TIMES[chain.pending]
        if chain.on_its_way:
            kind = self._troubles.get(chain.start.number, {}).get(chain.messages)
            chain.messages += 1
            if kind is not None:
                self.faults += 1
                low, high = LATE
                self._befall(chain, kind)
        wait = delay(self._seed.number, chain.start.number, chain.steps, low, high)
        if chain.on_its_way:
            wait += max(0, self._heals - self.now)
        self._push(self.now + wait, partial(self._step, chain))

    def _befall(self, chain: Chain, kind: Kind) -> None:
        """Lose a message, or have it arrive once more: at once, or when it is long over."""
        if kind is Kind.LOST:
            chain.lose()
        elif kind is Kind.DOUBLED and chain.pending is Pending.REQUEST:
            chain.fault = Fault.KEPT

    def _arrives_again(self, message: Message) -> None:
        """Let a copy of a message arrive; nobody waits for the answer."""
        with suppress(NotDone):
            self.machines.receive(message)
        self._judge()

    def _judge(self) -> None:
        self.count += 1
        self.judge.observe()
        if self.machines.wrong:
            raise Broken("a_message_acts_once", self.machines.wrong)

    def _ended(self, chain: Chain) -> None:
        start, watch = chain.start, self._chains.pop(chain)
        self._open[start.vm] -= 1
        if chain is self._fitting:
            self._fitted(chain.outcome)
        if watch is not None:
            self.judge_outcome(watch, chain.outcome)
            self._next(start)
        if not (self._open[start.vm] or self.machines.apart or self._fitting):
            self.judge.judge_tables(start.vm)

    def _next(self, start: Start) -> None:
        """Let the actor of an action begin its next one."""
        queue = self._queues[start.vm, start.actor]
        queue.popleft()
        if queue:
            self._push(self.now + 1, partial(self._begin, queue[0]))

    # Deaths

    def _restart(self, side: Side) -> None:
        """Let a side die and start anew: what the other one is doing goes on, or asks again."""
        self.faults += 1
        chains = dict(self._chains)
        self._chains.clear()
        for chain, watch in chains.items():
            self._open[chain.start.vm] -= 1
            left = chain.without(side)
            recorded = bool(left) and chain.side is not side
            for place, each in enumerate(left):
                self._goes_on(each, watch if recorded and place == 0 else None)
            if watch is not None and not recorded:
                self.oracle.end(watch, succeeded=False, life="neither")
                self._next(chain.start)
        self._dead += chains
        self.machines.start(side)
        self.judge.starts_anew()
        for vm in range(SIZE.vms):
            self.oracle.died(vm, whole=side is Side.HYPERVISOR)
        self._lost |= side is Side.HYPERVISOR
        self._fitting = None
        self._deaths += 1
        wait = delay(self._seed.number, self._deaths, 0, *LATE)
        self._push(self.now + wait, partial(self._fit, self._deaths))

    def _goes_on(self, chain: Chain, watch: Watch | None) -> None:
        self._chains[chain] = watch
        self._open[chain.start.vm] += 1
        self._push(self.now + 1, partial(self._step, chain))

    def _fit(self, death: int) -> None:
        """Have the Hypervisor say hello, unless a side has died since."""
        if death == self._deaths:
            start = Start(-1, 0, 0, 0, VMM, ActionName.HOST_READ, 0, 1)
            self._fitting = Chain(self.machines.introduce(), self.machines, Side.HYPERVISOR, start)
            self._add(self._fitting, None)

    def _fitted(self, outcome: Any) -> None:
        """Go on, now that there is an epoch; where the Hypervisor has died, all VMs are new ones."""
        self._fitting = None
        if isinstance(outcome, Exception):
            raise outcome
        if self._lost:
            self._make_vms()
        self._lost = False
        for vm in range(SIZE.vms):
            self.oracle.vms[vm].sees(self.machines.life(vm + 1))
            if self.machines.hv.store.vms[vm + 1].must_reset:
                number = RESETS + self._deaths * SIZE.vms + vm
                self._arrive(Start(number, self.round, self.now, vm, VMM, ActionName.RESET, 0, 1))
