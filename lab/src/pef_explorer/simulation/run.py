"""One run: a seed's events happen in simulated time, and every step is judged. No clock, no thread."""

import heapq
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from pef_explorer.simulation.chains import Chain
from pef_explorer.simulation.events import (
    ROUNDS,
    WORLD,
    Do,
    Event,
    Kind,
    Restart,
    Seed,
    Start,
    Trouble,
    delay,
)
from pef_explorer.simulation.judge import Broken, Judge
from pef_explorer.simulation.machines import Machines, token_of
from pef_explorer.simulation.oracle import Oracle, Watch
from pef_explorer.simulation.probes import probe_all
from pef_explorer.stepping import Fault, Pending
from pef_explorer.wire import Message, NotDone
from pef_hypervisor.from_vmm.outcome import Errno, Outcome
from pef_kit.operations import Operation, PeerFailure
from pef_protocol.calls import Reply
from pef_protocol.quantities import PAGE_ORDER
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

    def course(self) -> Course:
        """Let everything happen, and say how it went."""
        failure = None
        try:
            for vm in range(WORLD.vms):
                self.must(self.machines.hv.create_vm(self._seed.design, secure_guest=True, radix=True), vm)
                self.must(self.machines.hv.add_slot(vm + 1, 0, 0, WORLD.gfns << PAGE_ORDER), vm)
            for round_ in range(ROUNDS):
                self._play(round_)
                probe_all(self, last=round_ == ROUNDS - 1)
        except Broken as broken:
            failure = Failure(broken.invariant, broken.sentence, self._round, self._now)
        except Exception as crash:  # noqa: BLE001 - whatever an operation raises is a finding
            sentence = f"{type(crash).__name__}: {crash}"
            failure = Failure("no_operation_crashes", sentence, self._round, self._now)
        finally:
            for chain in self._chains:
                chain.close()
        return Course(self._count, self._actions, self._faults, failure)

    # Actions that are begun alone, and run to their end

    def must(self, operation: Operation[Any], vm: int) -> None:
        """Do an operation of the VMM alone; raise Broken where it does not succeed."""
        start = Start(-1, 0, 0, vm, "vmm", Do.HOST_READ, 0, 1)
        outcome = self._to_its_end(Chain(operation, self.machines, start))
        if not succeeded(outcome):
            raise Broken("what_is_asked_alone_succeeds", f"VM {vm}: {outcome}")

    def alone(self, start: Start) -> None:
        """Do an action alone, with everything judged; raise Broken where it does not succeed."""
        watch = self.oracle.begin(start, token_of(start))
        outcome = self._to_its_end(Chain(self.machines.begin(start), self.machines, start))
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

    def _arrive(self, event: Start | Restart) -> None:
        self._since = 0
        if isinstance(event, Restart):
            self._restart()
            return
        queue = self._queues[event.vm, event.actor]
        queue.append(event)
        if len(queue) == 1:
            self._begin(event)

    def _begin(self, start: Start) -> None:
        self._since = 0
        self._actions += 1
        watch = self.oracle.begin(start, token_of(start))
        self._add(Chain(self.machines.begin(start), self.machines, start), watch)

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
        if watch is not None:
            self._heard(watch, chain.outcome)
            queue = self._queues[start.vm, start.actor]
            queue.popleft()
            if queue:
                self._push(self._now + 1, partial(self._begin, queue[0]))
        if not self._open[start.vm]:
            self.judge.judge_tables(start.vm)

    def _heard(self, watch: Watch, outcome: Any) -> None:
        """Judge what the actor was told."""
        if isinstance(outcome, Exception) and not isinstance(outcome, AccessFailure | PeerFailure):
            raise outcome
        content = isinstance(outcome, bytes | bytearray | memoryview)
        if content and watch.found is not None:
            self.judge.judge_seen(watch, bytes(outcome))
        life = self.machines.life(watch.start.vm + 1)
        self.oracle.end(watch, succeeded=succeeded(outcome), life=life)
        self.judge.judge_stored(watch.token)

    def _restart(self) -> None:
        """Drop every connection: whoever waits for an answer asks again."""
        self._faults += 1
        for chain in self._chains:
            chain.lose()


def succeeded(outcome: Any) -> bool:
    """Tell whether an action did what was asked."""
    if isinstance(outcome, Reply):
        return outcome.code.succeeded
    if isinstance(outcome, Outcome):
        return outcome.errno is Errno.OK
    return outcome is None or isinstance(outcome, bytes | bytearray | memoryview)
