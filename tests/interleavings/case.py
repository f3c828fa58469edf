"""One case: an operation is suspended, another is run to its end, and the first goes on."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from interleavings.checks import BYTES, RESTING, Violation, loaded, owners
from interleavings.columns import EVERYBODYS, Column
from interleavings.operations import Begun, Fixture, Step
from interleavings.setting import note
from interleavings.stack import ATTEMPTS, LIMIT, Level, Stack
from interleavings.steps import STEPS
from pef_explorer.actions.outcome import is_success
from pef_explorer.invariants.counts import nothing_is_left_behind
from pef_explorer.machines.open_call import Pending
from pef_hypervisor.checks import Refused
from pef_hypervisor.gfn.columns import BUSY as HV_BUSY
from pef_hypervisor.outcome import Errno, Outcome
from pef_kit.core.effects import Effect, Offload, PeerCall, Transfer, Turn
from pef_kit.core.lease import Ended
from pef_kit.runtime.bus import NORMAL_BASE
from pef_protocol.calls import Reply
from pef_protocol.events import Side
from pef_protocol.quantities import PAGE_ORDER
from pef_ultravisor.access import AccessFailure

GIVEN_UP: Final = 3 * (ATTEMPTS + 1)
"""Pauses after which an operation is taken to wait for the suspended one."""


class Suspended:
    """An operation of VM `lpid` that goes on step by step."""

    def __init__(self, fixture: Fixture, step: Step, lpid: int) -> None:
        self.fixture = fixture
        self.step = step
        self.lpid = lpid
        self.begun: Begun = step.begin(fixture, lpid)
        self.stack = Stack(fixture.machines, step.key, step.side, lpid, self.begun.operation)
        fixture.written.begun(self.begun.values)

    def go_on(self) -> None:
        """Go on by one yield."""
        self.stack.go_on()


class Case:
    """A column that is run beside `first`; `found` has what was violated.

    `begun`: the column's first step, where it began before `first` did.
    """

    def __init__(self, first: Suspended, column: Column, lpid: int, begun: Suspended | None = None) -> None:
        self.fixture = first.fixture
        self.first = first
        self.column = column
        self.begun = begun
        self.lpid = lpid or first.lpid
        self.lies = column.lies or first.step.lies
        self.found: list[Violation] = []
        self.beside: list[Begun] = []
        """What was begun while the first operation was open: either's bytes may be there in the end."""
        self.judged = False
        """What the first operation returned was looked at, as it ended."""
        self.ran: set[str] = {column.key}
        self.lives = [self._life(level) for level in first.stack.levels]
        self.others: frozenset[int] = frozenset()
        """Lpids of other VMs for which something nested goes on, as a page that makes room does."""

    def run(self) -> list[Violation]:
        """Run the column, let the first operation go on, and return what was violated."""
        effect, in_flight = self.first.stack.effect, self._in_flight()
        for number, name in enumerate(self.column.steps):
            whole = (
                Suspended(self.fixture, STEPS[name], self.lpid) if number or not self.begun else self.begun
            )
            if not is_success(self._run(whole)):
                break
        self._judge_bytes()
        if self.first.stack.effect is effect:
            self._judge_in_flight(in_flight)
        over = self._over()
        nested = any(level.side is Side.HYPERVISOR for level in self.first.stack.levels)
        self.others = self._others()
        theirs = not nested and not self.lies and not self.others
        before = self._state(over, all_of_it=theirs)
        if over:
            self.first.stack.on_effect = self._judge_effect
        self._let_first_go_on()
        if over and before != self._state(over, all_of_it=theirs):
            self.found.append(Violation("acts after its end", f"{over} changed something"))
        if self.first.stack.ended and not over:
            self._end_of_first()
        if not self.lies:
            for check in RESTING:
                self.found += check(self.fixture)
        self.found += self._can_be_ended()
        return self.found

    # The column

    def _first_ends(self) -> bool:
        """Let the first operation go on; return whether it has ended."""
        self.first.go_on()
        return self.first.stack.ended

    def _run(self, whole: Suspended) -> object:
        step, stack = whole.step, whole.stack
        if not self.first.stack.ended:
            self.beside.append(whole.begun)
        for _ in range(LIMIT):
            if stack.ended:
                break
            if stack.pauses > GIVEN_UP and not self.first.stack.ended:
                stack.pauses -= 1
                if self._first_ends():  # judged now: what it waited for may end its VM
                    self._end_of_first()
            stack.go_on()
        self.ran |= stack.ran
        if not stack.ended:
            self.found.append(Violation("stuck", f"{step.name} does not end: {stack.reported()}"))
            return Outcome(Errno.EBUSY)
        note(self.fixture, whole.begun, stack.outcome, (self.first.begun,))
        self.found += outcome_of(self.fixture, step, whole.lpid, stack.outcome)
        if step.key == "create" and isinstance(stack.outcome, Outcome):
            self.lpid = stack.outcome.outputs.get("lpid", self.lpid)
        return stack.outcome

    # The first operation

    def _let_first_go_on(self) -> None:
        stack = self.first.stack
        for _ in range(LIMIT):
            if stack.ended:
                return
            self.first.go_on()
            self._judge_bytes()
            if self.found:
                break
        for _ in range(LIMIT):
            if stack.ended:
                return
            self.first.go_on()
        self.found.append(Violation("stuck", f"{self.first.step.name} does not end: {stack.reported()}"))

    def _end_of_first(self) -> None:
        if self.judged:
            return
        self.judged, first = True, self.first
        note(self.fixture, first.begun, first.stack.outcome, tuple(self.beside))
        self.found += outcome_of(self.fixture, first.step, first.lpid, first.stack.outcome)

    # What must hold

    def _judge_bytes(self) -> None:
        if not self.found:
            for check in BYTES:
                self.found += check(self.fixture)

    def _life(self, level: Level) -> object:
        """Return the object that a level is for, if it is there now: an SVM or a VM."""
        machines = self.fixture.machines
        if level.name in EVERYBODYS:
            return None
        if level.side is Side.ULTRAVISOR:
            return level.svm if level.svm is not None and machines.uv.svm(level.lpid) is level.svm else None
        return (
            level.vm if level.vm is not None and machines.hv.store.vms.get(level.lpid) is level.vm else None
        )

    def _over(self) -> str:
        """Name the outermost operation if its life ended meanwhile; else return nothing."""
        levels = self.first.stack.levels
        if not levels or self.lives[0] is None or self._life(levels[0]) is not None:
            return ""
        return levels[0].name

    def _others(self) -> frozenset[int]:
        """Return the lpids of living VMs for which another VM's operation has something on its way."""
        levels, effect = self.first.stack.levels, self.first.stack.effect
        own = levels[0].lpid if levels else 0
        nested = {level.lpid for level in levels if self._life(level) is not None}
        asked = {int(getattr(effect.request, "lpid", own))} if isinstance(effect, PeerCall) else set()
        return frozenset((nested | asked & self.fixture.machines.uv.svms.keys()) - {own})

    def _judge_effect(self, level: Level, effect: Effect) -> None:
        levels = self.first.stack.levels
        at = next(number for number, each in enumerate(levels) if each is level)
        if at < len(self.lives) and self.lives[at] is not None and self._life(level) is None:
            what = {PeerCall: "asks", Transfer: "moves bytes", Offload: "works", Turn: "works"}.get(
                type(effect)
            )
            if what:
                name = effect.name if isinstance(effect, PeerCall) else ""
                self.found.append(Violation(f"{what} after its end", f"{level.name} {what} {name}".rstrip()))

    def _state(self, over: str, *, all_of_it: bool) -> Any:
        """Return what an operation whose life is over may not change: all but marks, counts, and aborts due.

        Without `all_of_it` only what the Ultravisor has: a VM's operation may go on when its SVM has ended;
        and a Hypervisor that ended an SVM behind its own back still believes what was sent before.
        """
        if not over:
            return None
        machines = self.fixture.machines
        uv, hv = machines.uv, machines.hv
        kept: list[Any] = [sorted(uv.pates.items()), machines.memory.known.tobytes()]
        for lpid, svm in sorted(uv.svms.items()):
            if lpid in self.others:
                continue
            kept.append((lpid, id(svm), svm.state, svm.whole, svm.done_outstanding))
            for slot in svm.slots:
                columns = slot.state, slot.normal, slot.counter, slot.tag, machines.known_frames(slot)
                kept.append((slot.slot_id, *(column.tobytes() for column in columns)))
        if not all_of_it:
            return kept[0], kept[2:]
        for number, vm in sorted(hv.store.vms.items()):
            kept.append((number, id(vm), vm.state, vm.must_abort))
            for own in vm.slots:
                marks = own.marks & np.uint8(255 - HV_BUSY)
                kept.append((own.slot_id, own.base, own.registered, own.state.tobytes(), marks.tobytes()))
        return kept

    def _in_flight(self) -> dict[int, tuple[int, object]]:
        """Return the owner of each page that bytes go to or come from, and what it backs."""
        effect = self.first.stack.effect
        if self.first.stack.waits is not Pending.TRANSFER or not isinstance(effect, Transfer):
            return {}
        whose, backed = owners(self.fixture), self._backed()
        places = {
            place
            for ra, length in effect.pieces
            for place in range(
                ra - NORMAL_BASE >> PAGE_ORDER,
                ra + length - 1 - NORMAL_BASE + (1 << PAGE_ORDER) >> PAGE_ORDER,
            )
        }
        return {place: (whose[place], backed.get(place)) for place in places}

    def _backed(self) -> dict[int, object]:
        found: dict[int, object] = {}
        for lpid, svm in self.fixture.machines.uv.svms.items():
            for slot in svm.slots:
                for at in np.flatnonzero(slot.normal).tolist():
                    found[int(slot.normal[at]) - NORMAL_BASE >> PAGE_ORDER] = (lpid, slot.first + at)
        return found

    def _judge_in_flight(self, before: dict[int, tuple[int, object]]) -> None:
        """Judge pages that bytes still go to or come from, whether or not whom they are for is over."""
        whose, backed = owners(self.fixture), self._backed()
        for place, (owner, gfn) in before.items():
            if whose[place] != owner:
                self.found.append(Violation("a page in flight changes its owner", f"normal page {place}"))
            now = backed.get(place)
            if now is not None and now != gfn:
                self.found.append(
                    Violation("a page in flight is mapped", f"normal page {place} for VM and GFN {now}")
                )

    def _can_be_ended(self) -> Iterator[Violation]:
        """Each VM can be reset and destroyed, the case's made secure between; then nothing of any is left."""
        machines, own = self.fixture.machines, self.first.lpid
        for lpid in sorted(machines.hv.store.vms, key=lambda lpid: lpid == own):
            yield from self._ends_well("a VM can't be ended", lpid, "reset")
            if lpid == own and not self.lies and machines.hv.store.vms[lpid].slots.get(0) is not None:
                yield from self._ends_well("a VM can't be made secure again", lpid, "UV_ESM")
            yield from self._ends_well("a VM can't be ended", lpid, "destroy")
        if machines.hv.store.vms:
            return
        if machines.memory.known[: -len(machines.spare)].any():
            yield Violation("bytes are left", "all VMs are destroyed, and normal memory is not zero")
        for sentence in nothing_is_left_behind(machines.uv, machines.hv):
            yield Violation("something is left", sentence)

    def _ends_well(self, kind: str, lpid: int, name: str) -> Iterator[Violation]:
        """Run a step alone, which must succeed."""
        stack = Suspended(self.fixture, STEPS[name], lpid).stack
        for _ in range(LIMIT):
            if stack.ended:
                break
            stack.go_on()
        if not is_success(stack.outcome) or not stack.ended:
            yield Violation(kind, f"{name} of VM {lpid}: {stack.outcome}")


def outcome_of(fixture: Fixture, step: Step, lpid: int, outcome: object) -> Iterator[Violation]:
    """Judge how an operation ended, and what it returned."""
    first = {"load at UV": 3, "load at HV": 0, "host read": 3}
    if isinstance(outcome, Exception) and not isinstance(outcome, AccessFailure | Ended):
        yield Violation("an exception", f"{step.name}: {type(outcome).__name__}: {outcome}")
    if isinstance(outcome, bytes | bytearray | memoryview) and step.key in first:
        start = 6 if "is out" in step.name else first[step.key]
        yield from loaded(fixture, lpid, bytes(outcome), start, host=step.key == "host read")
    if not isinstance(outcome, Exception | Outcome | Reply | Refused | bytes | memoryview | None):
        yield Violation("an exception", f"{step.name} returned {type(outcome).__name__}")
