"""The crash matrix over HTTP: at each message between two processes, before and after it, one is killed."""

import asyncio
import os
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Final

from crash.http_operations import HTTP_OPERATIONS, HttpOperation
from crash.http_tenants import LONGEST, HttpHost, HttpTenant
from crash.http_verdict import HttpJudge
from crash.kinds import Kind, Violation
from crash.pair import Kill, killable_pair
from mutants.forked import begin
from pef_lab.failures import Refusal, Unanswered
from pef_protocol.events import Side

AT_ONCE: Final = 2
"""Cases that are played at once for each processor: each waits for its processes much of the time."""


@dataclass(frozen=True, slots=True)
class KillCase:
    """One cell: in operation number `operation`, what is killed when."""

    operation: int
    kill: Kill


@dataclass(frozen=True, slots=True)
class Kills:
    """The whole matrix, played: the messages of each operation, and what each case broke."""

    messages: list[list[str]]
    outcomes: dict[KillCase, tuple[Violation, ...]]

    def told(self, case: KillCase) -> str:
        """Say what is killed when."""
        kill, names = case.kill, self.messages[case.operation]
        moment = f"{'after' if kill.done else 'before'} message {kill.message}, {names[kill.message]}"
        return f"over HTTP, {HTTP_OPERATIONS[case.operation].name}, {moment}, the {kill.dies} is killed"


def play() -> Kills:
    """Play every case, in processes of their own."""
    spawned = get_context("spawn")
    with ProcessPoolExecutor(AT_ONCE * (os.cpu_count() or 1), spawned, initializer=begin) as pool:
        found = list(pool.map(messages, range(len(HTTP_OPERATIONS))))
        cases = [
            KillCase(operation, Kill(message, side, done))
            for operation, names in enumerate(found)
            for message in range(len(names))
            for side in Side
            for done in (False, True)
        ]
        return Kills(found, dict(zip(cases, pool.map(judge_kill, cases), strict=True)))


def messages(number: int) -> list[str]:
    """Return the names of the messages of an operation that nobody interrupts."""
    return asyncio.run(_messages(HTTP_OPERATIONS[number]))


def judge_kill(case: KillCase) -> tuple[Violation, ...]:
    """Play a case; return what it breaks."""
    return asyncio.run(_judge(HTTP_OPERATIONS[case.operation], case.kill))


@asynccontextmanager
async def scene(operation: HttpOperation) -> AsyncIterator[tuple[HttpHost, list[HttpTenant]]]:
    """Start a pair with three tenants: A acts, B is secure, C is normal."""
    async with (
        killable_pair(operation.secure_memory, mapped=operation.mapped) as pair,
        AsyncExitStack() as stack,
    ):
        host = HttpHost(pair, stack)
        acting, secure, normal = [await host.new(name) for name in "ABC"]
        if operation.secure:
            await host.secure(acting)
        else:
            await host.load_image(acting, await pair.public_key())
        await host.secure(secure)
        if operation.prepare is not None:
            await operation.prepare(host, acting)
        yield host, [acting, secure, normal]


async def _messages(operation: HttpOperation) -> list[str]:
    async with scene(operation) as (host, tenants):
        host.pair.arm(None)
        await operation.act(host, tenants[0])
        return host.pair.names


async def _judge(operation: HttpOperation, kill: Kill) -> tuple[Violation, ...]:
    async with scene(operation) as (host, tenants):
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
        await (judge.new_hypervisor() if kill.dies is Side.HYPERVISOR else judge.new_ultravisor())
        since = pair.kept[len(before) :]
        if not (await judge.messages(before, Kind.LATE) or await judge.messages(since, Kind.AGAIN)):
            await judge.nothing_stays()
    return tuple(dict.fromkeys(judge.found))
