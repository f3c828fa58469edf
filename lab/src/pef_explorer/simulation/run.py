"""One run: a seed's events happen in simulated time, and every step is judged. No clock, no thread."""

import heapq
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from pef_explorer.faults import Fault
from pef_explorer.simulation.chains import Chain
from pef_explorer.simulation.events import (
    ROUNDS,
    WORLD,
    Do,
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
from pef_explorer.simulation.judge import Broken, Judge
from pef_explorer.simulation.machines import Machines
from pef_explorer.simulation.oracle import Oracle, Watch
from pef_explorer.simulation.probes import probe_all
from pef_explorer.stepping import Pending
from pef_explorer.wire import Message, NotDone
from pef_hypervisor.outcome import Errno, Outcome
from pef_kit.core.life import Ended
from pef_kit.operations import Operation, PeerFailure
from pef_protocol.calls import Reply
from pef_protocol.events import Side
from pef_ultravisor.from_guest.accesses import AccessFailure

LONGEST: Final = 20_000
"""Events in which every open call must have ended, once no other begins."""
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
"""How long an actor waits who is told that a side is not ready."""
OUTCOMES: Final = (AccessFailure, PeerFailure, Ended, NotDone)
"""How an operation may fail."""
AGAIN: Final = (1, 2000)
"""How long the second copy of a message takes."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What broke: the invariant, a sentence, and in which round, at what time."""

    invariant: str
    sentence: str
    round: int
    at: int


@dataclass(frozen=True, slots=True)
class Course:
    """How a run went: events judged, actions done, faults that befell something, and what broke."""

    events: int
    actions: int
    faults: int
    failure: Failure | None


class Run:
    """A run under way."""

    def __init__(self, seed: Seed, events: Sequence[Event]) -> None:
        self.machines = Machines(seed)
        self.oracle = Oracle(seed.design)
        self.judge = Judge(self.machines, self.oracle, seed.design)
        self._seed = seed
        self._events = events
        self._troubles: dict[int, dict[int, Kind]] = defaultdict(dict)
        for each in events:
            if isinstance(each, Trouble):
                self._troubles[each.start][each.message] = each.kind
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._chains: dict[Chain, Watch | None] = {}
        self._queues: dict[tuple[int, str], deque[Start]] = defaultdict(deque)
        self._open = [0] * WORLD.vms
        self._now = self._round = self._pushed = self._since = 0
        self._count = self._actions = self._faults = 0
        self._heals = self._deaths = 0
        self._fitting: Chain | None = None
        """What the Hypervisor does since a side died, from its hello on."""
        self._lost = False
        """The Hypervisor died, and its VMs have not been made anew."""
        self._dead: list[Chain] = []

    def course(self) -> Course:
        """Let everything happen, and say how it went."""
        failure = None
        try:
            self.must(self.machines.introduce(), 0)
            self._make_vms()
            for round_ in range(ROUNDS):
                self._play(round_)
                probe_all(self, last=round_ == ROUNDS - 1)
        except Broken as broken:
            failure = Failure(broken.invariant, broken.sentence, self._round, self._now)
        except Exception as crash:  # noqa: BLE001 - whatever an operation raises is a finding
            sentence = f"{type(crash).__name__}: {crash}"
            failure = Failure("no_operation_crashes", sentence, self._round, self._now)
        finally:
            for chain in (*self._chains, *self._dead):
                chain.close()
        return Course(self._count, self._actions, self._faults, failure)

    # Actions that are begun alone, and run to their end

    def must(self, operation: Operation[Any], vm: int) -> None:
        """Do an operation of the VMM alone; raise Broken where it does not succeed."""
        start = Start(-1, 0, 0, vm, "vmm", Do.HOST_READ, 0, 1)
        outcome = self._to_its_end(Chain(operation, self.machines, Side.HYPERVISOR, start))
        if not succeeded(outcome):
            raise Broken("what_is_asked_alone_succeeds", f"VM {vm}: {outcome}")

    def alone(self, start: Start) -> None:
        """Do an action alone, with everything judged; raise Broken where it does not succeed."""
        watch = self.oracle.begin(start, token_of(start))
        operation, side = self.machines.act(start)
        outcome = self._to_its_end(Chain(operation, self.machines, side, start))
        self._heard(watch, outcome)
        if not succeeded(outcome):
            where = f"VM {start.vm}, GFN {start.gfn}"
            raise Broken("what_is_asked_alone_succeeds", f"{where}: {start.does}: {outcome}")

    def _to_its_end(self, chain: Chain) -> Any:
        for _ in range(LONGEST):
            self._count += 1
            self.judge.look()
            if chain.pending is Pending.ENDED:
                return chain.outcome
            chain.go_on()
        raise Broken("every_call_ends", f"VM {chain.start.vm}: {chain.start.does} alone does not end")

    def _make_vms(self) -> None:
        for vm in range(WORLD.vms):
            self.must(self.machines.make_vm(), vm)

    # A round

    def _play(self, round_: int) -> None:
        """Let a round's events happen; return once no call is open."""
        self._round, self._now = round_, 0
        for each in self._events:
            if not isinstance(each, Trouble) and each.round == round_:
                self._push(each.at, partial(self._arrive, each))
        self._since = 0
        while self._heap:
            self._now, _, happens = heapq.heappop(self._heap)
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
            self._faults += 1
            self._heals = max(self._heals, self._now + event.length)
            return
        queue = self._queues[event.vm, event.actor]
        queue.append(event)
        if len(queue) == 1:
            self._begin(event)

    def _begin(self, start: Start) -> None:
        self._since = 0
        if self.machines.apart or self._fitting:  # neither side admits anything
            self._push(self._now + NOT_READY, partial(self._begin, start))
            return
        self._actions += start.number < RESETS
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
            self._push(self._now + wait, partial(self._arrives_again, message))
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
                self._faults += 1
                low, high = LATE
                self._befall(chain, kind)
        wait = delay(self._seed.number, chain.start.number, chain.steps, low, high)
        if chain.on_its_way:
            wait += max(0, self._heals - self._now)
        self._push(self._now + wait, partial(self._step, chain))

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
        self._count += 1
        self.judge.look()
        if self.machines.wrong:
            raise Broken("a_message_acts_once", self.machines.wrong)

    def _ended(self, chain: Chain) -> None:
        start, watch = chain.start, self._chains.pop(chain)
        self._open[start.vm] -= 1
        if chain is self._fitting:
            self._fitted(chain.outcome)
        if watch is not None:
            self._heard(watch, chain.outcome)
            self._next(start)
        if not (self._open[start.vm] or self.machines.apart or self._fitting):
            self.judge.judge_tables(start.vm)

    def _next(self, start: Start) -> None:
        """Let the actor of an action begin its next one."""
        queue = self._queues[start.vm, start.actor]
        queue.popleft()
        if queue:
            self._push(self._now + 1, partial(self._begin, queue[0]))

    def _heard(self, watch: Watch, outcome: Any) -> None:
        """Judge what the actor was told."""
        if isinstance(outcome, Exception) and not isinstance(outcome, OUTCOMES):
            raise outcome
        content = isinstance(outcome, bytes | bytearray | memoryview)
        if content and watch.found is not None:
            self.judge.judge_seen(watch, bytes(outcome))
        life = self.machines.life(watch.start.vm + 1)
        self.oracle.end(watch, succeeded=succeeded(outcome), life=life)
        self.judge.judge_stored(watch.token)

    # Deaths

    def _restart(self, side: Side) -> None:
        """Let a side die and start anew: what the other one is doing goes on, or asks again."""
        self._faults += 1
        chains = dict(self._chains)
        self._chains.clear()
        for chain, watch in chains.items():
            self._open[chain.start.vm] -= 1
            left = chain.without(side)
            heard = bool(left) and chain.side is not side
            for place, each in enumerate(left):
                self._goes_on(each, watch if heard and place == 0 else None)
            if watch is not None and not heard:
                self.oracle.end(watch, succeeded=False, life="neither")
                self._next(chain.start)
        self._dead += chains
        self.machines.start(side)
        self.judge.starts_anew()
        for vm in range(WORLD.vms):
            self.oracle.died(vm, whole=side is Side.HYPERVISOR)
        self._lost |= side is Side.HYPERVISOR
        self._fitting = None
        self._deaths += 1
        wait = delay(self._seed.number, self._deaths, 0, *LATE)
        self._push(self._now + wait, partial(self._fit, self._deaths))

    def _goes_on(self, chain: Chain, watch: Watch | None) -> None:
        self._chains[chain] = watch
        self._open[chain.start.vm] += 1
        self._push(self._now + 1, partial(self._step, chain))

    def _fit(self, death: int) -> None:
        """Have the Hypervisor say hello, unless a side has died since."""
        if death == self._deaths:
            start = Start(-1, 0, 0, 0, "vmm", Do.HOST_READ, 0, 1)
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
        for vm in range(WORLD.vms):
            self.oracle.vms[vm].sees(self.machines.life(vm + 1))
            if self.machines.hv.store.vms[vm + 1].must_reset:
                number = RESETS + self._deaths * WORLD.vms + vm
                self._arrive(Start(number, self._round, self._now, vm, "vmm", Do.RESET, 0, 1))


def succeeded(outcome: Any) -> bool:
    """Tell whether an action did what was asked."""
    if isinstance(outcome, Reply):
        return outcome.code.succeeded
    if isinstance(outcome, Outcome):
        return outcome.errno is Errno.OK
    return outcome is None or isinstance(outcome, bytes | bytearray | memoryview)
