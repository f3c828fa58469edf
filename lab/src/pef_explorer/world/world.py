"""What one move does to the small system: an action begins, goes on, or ends."""

from typing import Final

from pef_explorer.actions.move import GO_ON, GUESTS, VM, Move
from pef_explorer.actions.operations import PERFORMED
from pef_explorer.actions.oracle import ZERO
from pef_explorer.actions.outcome import succeeded, word_for
from pef_explorer.actions.table import ACTIONS, ESM_FAILS, REPLACE, UV_ESM
from pef_explorer.machines.faults import OF_A_PEER, Fault
from pef_explorer.machines.open_call import OpenCall, Pending
from pef_explorer.machines.small_esm import gfns_of, measured, not_as_promised, zeroed_by
from pef_explorer.machines.wire import NotDone
from pef_explorer.plan import Delivery, Plan
from pef_explorer.world.deaths import DIES, HELLO, die, met
from pef_explorer.world.network import NETWORK, arrive_again, without
from pef_explorer.world.records import Ending, Open
from pef_explorer.world.state import WorldState
from pef_kit.core.life import Ended
from pef_kit.core.runs import columns_of
from pef_protocol.events import Side
from pef_protocol.quantities import PAGE_ORDER
from pef_protocol.ultracalls import PageIn

ENDS: Final = (Ended, NotDone)
"""How an operation ends whose epoch is over."""


class World(WorldState):
    """The small system, to which moves are made."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.system.on_acting = self._note_given

    def do(self, move: Move) -> Ending | None:
        """Make a move and return the action that it ended, or None."""
        self._count(move.fault)
        self.system.wrong, self.iv_again = "", False
        if move.action == GO_ON:
            self._go_on(self.open[move.actor], move.fault)
        elif move.actor == NETWORK:
            self._arrive(move)
        elif move.action == DIES:
            die(self, Side(move.actor))
        elif move.action == HELLO:
            self.open_unanswered(move, OpenCall(self.system.introduce(), self.system, Side.HYPERVISOR))
        else:
            self.begun += 1
            self._begin(move)
        self.failed = ""
        ended = self._settle(move.actor) if move.actor in self.open else None
        self._now = None
        if self.system.svm is not None and self.system.svm.sealer.used:
            self.note_sealed()
        return ended

    def _count(self, fault: Fault | None) -> None:
        if fault in OF_A_PEER[Delivery.UNRELIABLE]:
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

    def _begin(self, move: Move) -> None:
        before = tuple(self.oracle.may)
        alone = not self.open
        for each in self.open.values():
            each.alone = False
        if move.action in {UV_ESM, ESM_FAILS}:
            self._begin_phase(move, alone=alone)
            return
        action = ACTIONS[move.action]
        if move.action == REPLACE:
            self.troubles = self.troubles._replace(destroys=self.troubles.destroys - 1)
        side = self.side_of(move)
        operation, value = action.begin(self, move.gfn)
        values = frozenset({value}) if value else frozenset()
        for each in self.open.values():
            if values and each.values:
                values = each.values = values | each.values
        call = OpenCall(operation, self.system, side)
        footprint = action.footprint(self.plan, move.gfn)
        self.open[move.actor] = Open(move, call, footprint, values, before, alone, action, value)

    def side_of(self, move: Move) -> Side:
        """Return the side that does what an actor asks for."""
        performed = PERFORMED.get(move.action)
        if performed is None:  # UV_ESM, or what is no actor's
            return Side.ULTRAVISOR if move.actor in GUESTS else Side.HYPERVISOR
        return performed.side_for(secure=self.oracle.secure)

    def _begin_phase(self, move: Move, *, alone: bool) -> None:
        entering = self.system.entering
        if entering is None or entering.reply is not None:
            self.place = GUESTS.index(move.actor)
            entering = self.system.enter()
        if move.action == ESM_FAILS:
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
        footprint = frozenset(gfns) or self.whole
        call = OpenCall(entering.next_phase(), self.system, Side.ULTRAVISOR)
        self.open[move.actor] = Open(move, call, footprint, values, (), alone, None)

    def _go_on(self, each: Open, fault: Fault | None) -> None:
        was_svm = self.system.svm is not None
        each.call.go_on(fault)
        ended = was_svm and self.system.svm is None
        if ended and self.system.entering is not None and self.plan.vcpus > 1:
            self._goes_on_as_normal_vm()  # another vCPU may load before UV_ESM has ended

    def _note_given(self, request: object) -> None:
        """Note the pages that the Hypervisor has given the guest by UV_PAGE_IN."""
        if isinstance(request, PageIn):
            gpas, counts = columns_of(request.runs)[-2:]
            for gpa, count in zip(gpas.tolist(), counts.tolist(), strict=True):
                first = gpa >> PAGE_ORDER
                self.oracle.absent[first : first + count] = [False] * count

    def _settle(self, actor: str) -> Ending | None:
        """Note a call that has ended; a UV_ESM goes on to its next phase unless it stands alone."""
        each = self.open[actor]
        if each.call.pending is not Pending.ENDED:
            return None
        del self.open[actor]
        if each.unanswered:
            if isinstance(each.call.outcome, Exception) and not isinstance(each.call.outcome, ENDS):
                raise each.call.outcome
            if each.move.action == HELLO:
                met(self)
            return None
        if each.action is None:
            return self._phase_ended(actor, each)
        word = word_for(each.call.outcome, self.oracle.may[max(each.move.gfn, 0)])
        each.action.end(self, each.move.gfn, each.values, word)
        if each.alone and not succeeded(word) and not (self.faulty and self.changed()):
            self.oracle.may = list(each.before)
        outcome = each.call.outcome
        detail, check = (str(getattr(outcome, name, "") or "") for name in ("detail", "check"))
        return Ending(each.move, word, each.alone, detail, check)

    def _phase_ended(self, actor: str, each: Open) -> Ending | None:
        entering = self.system.entering
        if isinstance(each.call.outcome, ENDS):
            self.system.entering = None
            return None
        if isinstance(each.call.outcome, Exception):
            raise each.call.outcome
        meant = each.move.action == ESM_FAILS or not each.alone or self.system.svm is None
        if entering is not None and entering.failure is not None and entering.reply is None and not meant:
            self.failed = str(entering.failure)
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
        reply = entering.reply
        return Ending(each.move, reply.code.name, each.alone, reply.detail, reply.check)

    def _goes_on_as_normal_vm(self) -> None:
        """Let pages be lost that the host wrote over while they were out; all, if a message went wrong."""
        self.oracle.is_normal_again(all_may_be_lost=self.faulty)
