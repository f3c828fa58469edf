"""What a played side answers instead of being honest: once, for one VM, the next time that it is asked.

hypervisor.next(lpid, "H_SVM_PAGE_IN", refuse(HCode.H_BUSY))
held = Held(done_first=True)
hypervisor.next(lpid, "H_SVM_PAGE_IN", held)      the deed is done, the answer waits
await held.arrived.wait(); ...; held.release.set()
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from pef_protocol.calls import Reply
from pef_protocol.codes import HCode
from pef_protocol.runs import CodedRuns

Honest: TypeAlias = Callable[[], Awaitable[Reply]]
"""Does what was asked for, and returns the honest answer."""
Answer: TypeAlias = Callable[[Honest], Awaitable[Reply]]


def refuse(code: HCode, *refused: tuple[int, int, int]) -> Answer:
    """Answer with `code`, and do nothing; `refused` are runs (address, pages, code) to name."""

    async def refusal(_: Honest) -> Reply:
        return Reply(code, refused=CodedRuns.of(*refused))

    return refusal


def pretend() -> Answer:
    """Say that it is done, and do nothing."""
    return refuse(HCode.H_SUCCESS)


class Held:
    """A call that is held: `arrived` is set when it is, and `release` lets it go on.

    What it asks for is done before, or after; where `instead` is given, not at all.
    """

    def __init__(self, *, done_first: bool = False, instead: HCode | None = None) -> None:
        self.arrived = asyncio.Event()
        self.release = asyncio.Event()
        self._done_first = done_first
        self.instead = instead

    async def wait(self) -> None:
        """Hold whoever comes until it is released."""
        self.arrived.set()
        await self.release.wait()

    async def __call__(self, honest: Honest) -> Reply:
        """Answer as it was said when this was made."""
        reply = await honest() if self._done_first else None
        await self.wait()
        if self.instead is not None:
            return Reply(self.instead)
        return reply or await honest()
