"""The small system with its actors: which moves there are, and what one move does.

A state in which nothing is open is *quiet*; one in which only a UV_ESM stands between two phases is *parked*.
Only there a snapshot can be taken, for an operation under way can't be copied. From there every state is
reached again by its moves.
"""

from collections.abc import Iterator
from typing import Final

from pef_explorer.calls import (
    ACTIONS,
    ESM_FAILS,
    GO_ON,
    GUESTS,
    REPLACE,
    UV_ESM,
    VM,
    Move,
    is_new,
    starts,
    succeeded,
    word_for,
)
from pef_explorer.deaths import DIES, HELLO, deaths, die, met
from pef_explorer.faults import OF_A_PEER, Fault
from pef_explorer.looks import Look, key_of, look, shape_of
from pef_explorer.network import (
    NETWORK,
    arrivals,
    arrive_again,
    copies,
    key_of_the_wire,
    may_befall,
    put_back,
    without,
)
from pef_explorer.oracle import ZERO, Oracle
from pef_explorer.plan import Plan
from pef_explorer.records import Ending, Open, Step, Still
from pef_explorer.small_esm import gfns_of, measured, not_as_promised, zeroed_by
from pef_explorer.small_memory import TOKEN_BYTES
from pef_explorer.stepping import OpenCall, Pending
from pef_explorer.system import Parked, System
from pef_explorer.wire import NotDone
from pef_kit.core.life import Ended
from pef_kit.spans import columns_of
from pef_protocol.events import Side
from pef_protocol.quantities import PAGE_ORDER
from pef_protocol.states import UvGfnState
from pef_protocol.ultracalls import PageIn

ENDS: Final = (Ended, NotDone)
"""How an operation ends whose epoch is over."""
STATES: Final = tuple(UvGfnState)
ARRIVES: Final = frozenset({None, Fault.DOUBLED, Fault.KEPT})
"""What befalls a request that arrives all the same."""


class World:
    """The system, its oracle, and the calls that are open."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.system = System(plan)
        self.oracle = Oracle(plan.pages)
        self.open: dict[str, Open] = {}
        self.faults, self.troubles = plan.faults, plan.troubles
        self.faulty = self.in_doubt = False
        """Whether a message went wrong since the beginning, and whether in a way that leaves doubt."""
        self.begun = 0
        """Actions begun since the last still state: those that may have been open together."""
        self.lost = False
        """The SVM died with the Ultravisor, and no hello has been answered since."""
        self._now: Look | None = None
        self._shape = shape_of(self.now)
        self._failed = ""
        self._starts = [*starts(plan)]
        self._place = 0

    # Still states

    def still(self) -> Still:
        """Return this quiet or parked state as a plain value."""
        snapshot = self.system.snapshot(self._parked())
        return Still(snapshot, self.oracle.frozen(), self.faults, self.troubles, copies(self.system))

    def put_back(self, still: Still) -> None:
        """Go back to a still state; whatever is open is given up."""
        for each in self.open.values():
            each.call.close()
        self.open.clear()
        self.system.restore(still.snapshot)
        put_back(self.system, still.copies)
        self.oracle.thaw(still.memory)
        self.faults, self.troubles = still.faults, still.troubles
        self.faulty = self.in_doubt = still.faults < self.plan.faults
        self.begun = 0
        self.lost = False
        self._now = None
        self._shape = shape_of(self.now)
        self._place = still.snapshot.parked.vcpu if still.snapshot.parked else 0

    def _parked(self) -> Parked | None:
        entering = self.system.entering
        if entering is None or entering.reply is not None:
            return None
        failure = entering.failure
        return Parked(self._place, entering.place, (int(failure.code), str(failure)) if failure else None)

    @property
    def now(self) -> Look:
        """Return a look at both machines as they stand."""
        if self._now is None:
            self._now = look(self.system)
        return self._now

    @property
    def parked(self) -> Parked | None:
        """Return the UV_ESM that stands between two phases, or None."""
        return self._parked() if self.quiet else None

    # What there is to do

    def moves(self) -> Iterator[tuple[Move, frozenset[int]]]:
        """Yield each move that may be made now, with the footprint of what it begins, or no footprint."""
        if NETWORK not in self.open:
            yield from ((move, self._whole) for move in arrivals(self.system))
        yield from ((move, self._whole) for move in deaths(self))
        if self.parked is not None:
            yield from self._phases()
            return
        for actor, each in self.open.items():
            yield Move(actor, GO_ON), frozenset()
            yield from ((Move(actor, GO_ON, VM, fault), frozenset()) for fault in self._befalls(each.call))
        if self.begun >= self.plan.calls or self.system.apart or HELLO in self.names:
            return
        begun = {actor: each.move.does for actor, each in self.open.items()}
        busy = frozenset().union(*(each.footprint for each in self.open.values()))
        for move, action, footprint in self._starts:
            if move.actor in self.open or (busy and not busy & footprint):
                continue
            if action.may_be(self, move.gfn) and is_new(self.plan, move, begun):
                yield move, footprint
        for guest in GUESTS[: self.plan.vcpus]:
            if guest not in self.open and self._may_enter:
                yield Move(guest, UV_ESM, VM), self._whole

    def _befalls(self, call: OpenCall) -> Iterator[Fault]:
        if self.faults and call.pending is Pending.REQUEST:
            yield from OF_A_PEER
        yield from may_befall(call, self.troubles)

    @property
    def _may_enter(self) -> bool:
        """Tell whether UV_ESM may begin; not where it would only wait until somebody resets the VM."""
        vm, nothing = self.system.vm, self.system.svm is None and self.system.entering is None
        return vm is not None and not vm.must_reset and nothing and not self.oracle.secure

    @property
    def _whole(self) -> frozenset[int]:
        return frozenset({VM, *range(self.plan.pages)})

    def _phases(self) -> Iterator[tuple[Move, frozenset[int]]]:
        entering, vcpu = self.system.entering, GUESTS[self._place]
        if entering is None:
            return
        yield Move(vcpu, UV_ESM, VM), self._whole
        if entering.failure is None and entering.steps[entering.place] is measured:
            yield Move(vcpu, ESM_FAILS, VM), self._whole

    # Doing it

    def make(self, move: Move) -> Step:
        """Make a move and tell what was seen."""
        before = self.now
        ended = self.do(move)
        return Step(move, before, self.now, ended, self._failed, self.quiet, self)

    def do(self, move: Move) -> Ending | None:
        """Make a move without looking; return what it ended."""
        self._count(move.fault)
        self.system.wrong = ""
        if move.does == GO_ON:
            self._go_on(self.open[move.actor], move.fault)
        elif move.actor == NETWORK:
            self._arrive(move)
        elif move.does == DIES:
            die(self, Side(move.actor))
        elif move.does == HELLO:
            self.open_unanswered(move, OpenCall(self.system.introduce(), self.system, Side.HYPERVISOR))
        else:
            self.begun += 1
            self._begin(move)
        self._failed = ""
        ended = self._settle(move.actor) if move.actor in self.open else None
        self._now = None
        if self.system.svm is not None and self.system.svm.sealer.used:
            self._note_sealed()
        return ended

    def _count(self, fault: Fault | None) -> None:
        if fault in OF_A_PEER:
            self.faults -= 1
            self.faulty = True
            self.in_doubt |= fault in {Fault.LOST, Fault.DOUBLED}
        elif fault is not None:
            self.troubles = without(self.troubles, fault)

    def _arrive(self, move: Move) -> None:
        """Let a copy of a message arrive; what it sets going nobody waits for."""
        arrived = arrive_again(self.system, move.gfn)
        if arrived is None:
            return
        message, operation = arrived
        self.open_unanswered(move, OpenCall(operation, self.system, message.to))

    def open_unanswered(self, move: Move, call: OpenCall) -> None:
        """Note a call of which nobody hears how it ends."""
        for each in self.open.values():
            each.alone = False
        self.open[move.actor] = Open(move, call, self._whole, frozenset(), (), False, None, unanswered=True)

    def changed(self) -> bool:
        """Tell whether the machines differ from what they were when the last still state was put back."""
        return shape_of(self.now) != self._shape

    def _begin(self, move: Move) -> None:
        before = tuple(self.oracle.may)
        alone = not self.open
        for each in self.open.values():
            each.alone = False
        if move.does in {UV_ESM, ESM_FAILS}:
            self._begin_phase(move, alone=alone)
            return
        action = ACTIONS[move.does]
        if move.does == REPLACE:
            self.troubles = self.troubles._replace(destroys=self.troubles.destroys - 1)
        side = self._side(move)
        operation, value = action.begin(self, move.gfn)
        values = frozenset({value}) if value else frozenset()
        for each in self.open.values():
            if values and each.values:
                values = each.values = values | each.values
        call = OpenCall(operation, self.system, side)
        footprint = action.footprint(self.plan, move.gfn)
        self.open[move.actor] = Open(move, call, footprint, values, before, alone, action)

    def _side(self, move: Move) -> Side:
        """Return the side that does what an actor asks for."""
        guest = move.actor in GUESTS and move.does != "reboot"
        secure = self.oracle.secure or move.does not in {"load", "store"}
        return Side.ULTRAVISOR if guest and secure else Side.HYPERVISOR

    @property
    def names(self) -> set[str]:
        """Return what is being done."""
        return {each.move.does for each in self.open.values()}

    @property
    def quiet(self) -> bool:
        """Tell whether nothing is open, and both sides share an epoch."""
        return not self.open and not self.system.apart

    def _begin_phase(self, move: Move, *, alone: bool) -> None:
        entering = self.system.entering
        if entering is None or entering.reply is not None:
            self._place = GUESTS.index(move.actor)
            entering = self.system.enter()
        if move.does == ESM_FAILS:
            fails = [not_as_promised if each is measured else each for each in self.system.steps]
            entering.steps = fails
        zeroed = zeroed_by(self.plan, self.system.steps, entering.place) if entering.failure is None else []
        for gfn in zeroed:
            self.oracle.also(gfn, ZERO)
        values = frozenset({ZERO}) if zeroed else frozenset[bytes]()
        for other in self.open.values():
            if other.values:
                other.values |= values
        gfns = gfns_of(self.system.steps[entering.place]) if entering.failure is None else []
        footprint = frozenset(gfns) or self._whole
        call = OpenCall(entering.next_phase(), self.system, Side.ULTRAVISOR)
        self.open[move.actor] = Open(move, call, footprint, values, (), alone, None)

    def _go_on(self, each: Open, fault: Fault | None) -> None:
        asked = each.call.asked
        if asked is not None and isinstance(asked.request, PageIn) and fault in ARRIVES:
            gpas, counts = columns_of(asked.request.runs)[-2:]
            for gpa, count in zip(gpas.tolist(), counts.tolist(), strict=True):
                first = gpa >> PAGE_ORDER
                self.oracle.away[first : first + count] = [False] * count
        was_svm = self.system.svm is not None
        each.call.go_on(fault)
        ended = was_svm and self.system.svm is None
        if ended and self.system.entering is not None and self.plan.vcpus > 1:
            self._goes_on_as_normal_vm()  # another vCPU may look before UV_ESM has ended

    def _settle(self, actor: str) -> Ending | None:
        """Note a call that has ended; a UV_ESM goes on to its next phase unless it stands alone."""
        each = self.open[actor]
        if each.call.pending is not Pending.ENDED:
            return None
        del self.open[actor]
        if each.unanswered:
            if isinstance(each.call.outcome, Exception) and not isinstance(each.call.outcome, ENDS):
                raise each.call.outcome
            if each.move.does == HELLO:
                met(self)
            return None
        if each.action is None:
            return self._phase_ended(actor, each)
        word = word_for(each.call.outcome, self.oracle.may[max(each.move.gfn, 0)])
        each.action.end(self, each.move.gfn, each.values, word)
        if each.alone and not succeeded(word):
            self.oracle.may = list(each.before)
        detail = str(getattr(each.call.outcome, "detail", "") or "")
        return Ending(each.move, word, each.alone, detail)

    def _phase_ended(self, actor: str, each: Open) -> Ending | None:
        entering = self.system.entering
        if isinstance(each.call.outcome, ENDS):
            self.system.entering = None
            return None
        if isinstance(each.call.outcome, Exception):
            raise each.call.outcome
        meant = each.move.does == ESM_FAILS or not each.alone or self.system.svm is None
        if entering is not None and entering.failure is not None and entering.reply is None and not meant:
            self._failed = str(entering.failure)
        if entering is None or entering.reply is None:
            if self.open or self.system.svm is None:
                self._begin_phase(Move(actor, UV_ESM, VM), alone=False)
                return self._settle(actor)
            return None
        self.system.entering = None
        if entering.reply.code.succeeded:
            self.oracle.secure = True
        elif self.system.svm is None:
            self._goes_on_as_normal_vm()
        return Ending(each.move, entering.reply.code.name, each.alone, entering.reply.detail)

    def _goes_on_as_normal_vm(self) -> None:
        """Let pages be lost that the host spoiled while they were out; any, where a message went wrong."""
        for gfn, spoiled in enumerate(self.oracle.spoiled):
            if spoiled or self.faulty:
                self.oracle.also(gfn, ZERO)
        self.oracle.spoiled = [False] * self.plan.pages
        self.oracle.away = [False] * self.plan.pages

    def _note_sealed(self) -> None:
        """Remember what pages looked like when they went out."""
        svm = self.system.svm
        for slot in svm.slots if svm else ():
            for at in range(slot.count):
                counter, gfn = int(slot.counter[at]), slot.first + at
                mark = self.system.generation << 32 | counter
                if counter and mark != self.oracle.sealed[gfn][0]:
                    page = self.system.normal_page(gfn)
                    if page is not None:
                        self.oracle.sealed[gfn] = mark, self.system.memory.known[page].tobytes()

    # For the table of actions

    def token(self, kind: bytes, gfn: int) -> bytes:
        """Return a token that is nowhere yet."""
        seen = frozenset(page[:TOKEN_BYTES] for page in (*self.now.normal, *self.now.frames))
        return self.oracle.new_token(kind, gfn, seen)

    def at_uv(self, gfn: int) -> UvGfnState | None:
        """Return the state of a GFN in the Ultravisor, or None."""
        svm = self.system.svm
        slot = svm.slots.holding(gfn) if svm else None
        return None if slot is None else STATES[slot.state[gfn - slot.first]]

    def key(self) -> tuple[object, ...]:
        """Return what makes this state differ from others."""
        calls = tuple((actor, self.open[actor].key) for actor in sorted(self.open))
        begun = self.begun if calls else 0
        return key_of(self.now, self.oracle), calls, self.parked_key(), self.wire_key(), begun

    def wire_key(self) -> tuple[object, ...]:
        """Return what may still go wrong on the wire, as plain numbers and bytes."""
        return self.faults, tuple(self.troubles), self.system.apart, self.lost, key_of_the_wire(self.system)

    def parked_key(self) -> tuple[object, ...] | None:
        """Return the UV_ESM that is under way without a live operation, as plain numbers."""
        parked = self._parked()
        return tuple(parked) if parked else None
