"""The crash matrix over HTTP: at messages between two processes, before and after them, one is killed.

At each message of an operation; of a name that comes more often than twice in it, at the first and the last.
The services are processes; who plays their guests, their VMM and the wire between them is this one process.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

from crash.http_operations import HTTP_OPERATIONS, HttpOperation
from crash.http_tenants import LONGEST, HttpHost, HttpTenant
from crash.http_verdict import HttpJudge
from crash.kinds import Kind, Violation
from crash.matrix import Progress
from crash.pair import Kill, killable_pair
from harness.processor_time import ProcessorTimeLoop
from mutants.forked import begin
from pef_lab.failures import Refusal, Unanswered
from pef_protocol.events import Side

T = TypeVar("T")
C = TypeVar("C")
AT_ONCE: Final = 3
"""Pairs that run at once for each processor: each waits for its processes much of the time."""


@dataclass(frozen=True, slots=True)
class KillCase:
    """One cell: in operation number `operation`, what is killed when."""

    operation: int
    kill: Kill

    def __str__(self) -> str:
        kill = self.kill
        moment = f"{'after' if kill.done else 'before'} {kill.name} {kill.number}"
        return f"over HTTP, {HTTP_OPERATIONS[self.operation].name}, {moment}, the {kill.dies} is killed"


@dataclass(frozen=True, slots=True)
class Kills:
    """The whole matrix, played: the moments of each operation (see `KillablePair`), what each case broke."""

    moments: list[list[tuple[str, int]]]
    outcomes: dict[KillCase, tuple[Violation, ...]]


def run_all(progress: Progress = lambda in_process, cases: None) -> Kills:
    """Play every case."""
    begin()
    return asyncio.run(_play(progress))


def judge_kill(case: KillCase) -> tuple[Violation, ...]:
    """Play a case; return what it breaks. Its bounds of time do not count waits for a processor."""
    begin()
    with asyncio.Runner(loop_factory=ProcessorTimeLoop) as runner:
        return runner.run(_judge(case))


async def _play(progress: Progress) -> Kills:
    found = await _each(_moments, range(len(HTTP_OPERATIONS)))
    cases = [
        KillCase(operation, Kill(name, number, side, done))
        for operation, moments in enumerate(found)
        for name, number in ends_of(moments)
        for side in Side
        for done in (False, True)
    ]
    in_process = 0

    async def judge(case: KillCase) -> tuple[Violation, ...]:
        nonlocal in_process
        outcome = await _judge(case)
        in_process += 1
        progress(in_process, len(cases))
        return outcome

    return Kills(found, dict(zip(cases, await _each(judge, cases), strict=True)))


def ends_of(moments: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Return the first and the last moment of each name."""
    last = dict(moments)
    return [(name, number) for name, number in moments if number in {0, last[name]}]


async def _each(what: Callable[[C], Awaitable[T]], of: Iterable[C]) -> list[T]:
    """Do something for each, some at once; return the results in their order."""
    free = asyncio.Semaphore(AT_ONCE * (os.cpu_count() or 1))

    async def done(one: C) -> T:
        async with free:
            return await what(one)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(done(one)) for one in of]
    return [task.result() for task in tasks]


@asynccontextmanager
async def fixture(operation: HttpOperation) -> AsyncIterator[tuple[HttpHost, list[HttpTenant]]]:
    """Start a pair with three tenants: A acts, B is secure, C is normal."""
    async with (
        killable_pair(operation.secure_memory, mapped=operation.mapped) as pair,
        AsyncExitStack() as stack,
    ):
        host = HttpHost(pair, stack)
        acting, secure, normal = [await host.new(name, counts=name == "A") for name in "ABC"]
        if operation.secure:
            await host.secure(acting)
        else:
            await host.load_image(acting, await pair.public_key())
        await host.secure(secure)
        if operation.prepare is not None:
            await operation.prepare(host, acting)
        yield host, [acting, secure, normal]


async def _moments(number: int) -> list[tuple[str, int]]:
    """Return the messages of an operation that nobody interrupts: see `KillablePair.moments`."""
    operation = HTTP_OPERATIONS[number]
    async with fixture(operation) as (host, tenants):
        host.pair.arm(None)
        await operation.act(host, tenants[0])
        return host.pair.moments


async def _judge(case: KillCase) -> tuple[Violation, ...]:
    operation, kill = HTTP_OPERATIONS[case.operation], case.kill
    async with fixture(operation) as (host, tenants):
        pair = host.pair
        judge = HttpJudge(host, tenants, await pair.public_key())
        pair.arm(kill)
        acting = asyncio.ensure_future(operation.act(host, tenants[0]))
        async with asyncio.timeout(LONGEST):
            await pair.killed.wait()
        pair.start(kill.dies)
        await pair.until_ready(kill.dies)
        try:
            await asyncio.wait_for(acting, LONGEST)
        except (Refusal, Unanswered):
            pass  # busy, refused, or gone with the side that was called
        except TimeoutError:
            judge.broken(Kind.ENDLESS, "the operation has no answer")
        before = list(pair.kept)
        all_gone = Side.HYPERVISOR in {kill.dies, operation.restarts}
        await (judge.new_hypervisor() if all_gone else judge.new_ultravisor())
        since = pair.kept[len(before) :]
        if not (await judge.messages(before, Kind.LATE) or await judge.messages(since, Kind.AGAIN)):
            await judge.nothing_stays()
    return tuple(dict.fromkeys(judge.found))
