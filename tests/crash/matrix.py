"""The crash matrix in one process: at each yield of each operation, before and after it, either side dies."""

import gc
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Final

from crash.hello import introduce
from crash.kinds import Kind, Violation
from crash.operations import OPERATIONS
from crash.threads import Moment, NeverEnds, Thread, run
from crash.verdict import REFUSED, Judge
from pef_protocol.events import Side

Progress = Callable[[int, int], None]
"""Is told how many cases are played, and of how many."""
FIRST: Final = "what survives goes on before the other side is there again"
LATE: Final = "what survives goes on once the other side has introduced itself"


@dataclass(frozen=True, slots=True)
class Case:
    """One cell: at moment `place` of operation number `operation`, the side `dies`."""

    operation: int
    place: int
    dies: Side


@dataclass(frozen=True, slots=True)
class Matrix:
    """The whole matrix, played: the moments of each operation, the calls in them, what each case broke."""

    moments: list[list[Moment]]
    calls: frozenset[str]
    outcomes: dict[Case, tuple[Violation, ...]]

    def reported(self, case: Case) -> str:
        """Say who dies when."""
        moment = self.moments[case.operation][case.place]
        return f"{OPERATIONS[case.operation].name}, {moment}, the {case.dies} dies"


def run_all(progress: Progress = lambda in_process, cases: None) -> Matrix:
    """Play every case, in as many processes as there are processors."""
    with get_context("spawn").Pool(os.cpu_count() or 1, gc.freeze) as pool:
        found = pool.map(uninterrupted, range(len(OPERATIONS)), chunksize=1)
        cases = [
            Case(operation, place, side)
            for operation, (moments, _) in enumerate(found)
            for place in range(len(moments))
            for side in Side
        ]
        outcomes: dict[Case, tuple[Violation, ...]] = {}
        for case, violations in zip(cases, pool.imap(judge, cases, chunksize=4), strict=True):
            outcomes[case] = violations
            progress(len(outcomes), len(cases))
    calls = frozenset[str]().union(*[names for _, names in found])
    return Matrix([moments for moments, _ in found], calls, outcomes)


def uninterrupted(number: int) -> tuple[list[Moment], frozenset[str]]:
    """Return the moments of an operation that nobody interrupts, and the calls that were made."""
    operation = OPERATIONS[number]
    host, tenants = operation.fixture()
    thread = Thread.begin(host.machines, operation.side, operation.begin(host, tenants[0]))
    found: list[Moment] = []
    while not thread.ended:
        found.append(thread.moment)
        thread.step()
    return found, frozenset({operation.call} - {""}).union(message.name for message in host.machines.messages)


def judge(case: Case) -> tuple[Violation, ...]:
    """Play a case, in both orders where a part of the operation survives; return what it breaks."""
    survives, found = _judge(case, FIRST)
    if survives:
        found += _judge(case, LATE)[1]
    gc.collect()
    return tuple(dict.fromkeys(found))


def _judge(case: Case, order: str) -> tuple[bool, tuple[Violation, ...]]:
    operation = OPERATIONS[case.operation]
    host, tenants = operation.fixture()
    thread = Thread.begin(host.machines, operation.side, operation.begin(host, tenants[0]))
    for _ in range(case.place):
        thread.step()
    judge = Judge(host, tenants, host.machines.messages)
    left = thread.without(case.dies)
    return bool(left), tuple(_judged(judge, left, case, order))


def _judged(judge: Judge, left: list[Thread], case: Case, order: str) -> Iterator[Violation]:
    machines, dies, restarts = judge.machines, case.dies, OPERATIONS[case.operation].restarts
    all_gone = Side.HYPERVISOR in {dies, restarts}
    joins = restarts is not None and dies is Side.ULTRAVISOR  # a Hypervisor that lives, and is at its hello
    machines.stop(dies)
    if order is FIRST:
        yield from _go_on(left)
    machines.start(dies)
    if joins:
        yield from _go_on(left)
    else:
        run([Thread.begin(machines, Side.HYPERVISOR, introduce(machines))], meanwhile=left)
    if all_gone:
        yield from judge.before_its_first_call()
    yield from _go_on(left)
    yield from (Violation(Kind.ENDLESS, str(thread.moment)) for thread in left if not thread.ended)
    if not all_gone:
        yield from judge.living_on()
    if order is LATE:
        acted = list(judge.early())
        yield from acted
        if acted:
            return
    yield from judge.new_hypervisor() if all_gone else judge.new_ultravisor()
    acted = [*judge.late(), *judge.repeated()]
    yield from acted
    if not acted:
        yield from judge.nothing_stays()


def _go_on(left: list[Thread]) -> Iterator[Violation]:
    """Let what survived go on to its end."""
    try:
        run(left)
    except NeverEnds as reason:
        yield Violation(Kind.ENDLESS, str(reason))
    for thread in left:
        if thread.failure is not None and not isinstance(thread.failure, REFUSED):
            yield Violation(Kind.RAISES, repr(thread.failure))
