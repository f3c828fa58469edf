"""The Hypervisor's tie to an Ultravisor: hello, and what follows when the Ultravisor is another one.

| state | means |
|---|---|
| JOINING | no epoch yet, or one in which not all VMs fit the Ultravisor: nothing that needs it is admitted |
| READY | this Hypervisor owns the current epoch |
| SUPERSEDED | another Hypervisor has taken over: this one makes no call, and never says hello again |

Trust: a problem body, or a hint, is a rumour. What is done follows from what `GET /v1/epoch` answers.

Source: rules 2 to 4 of ARCHITECTURE.md, "Identity and time".
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from typing import Any, Final

from pef_hypervisor.dispatch import Hypervisor
from pef_kit.core.effects import PeerFailure
from pef_kit.core.life import Ended
from pef_kit.runtime.app import Service
from pef_kit.runtime.peer import Peer
from pef_protocol.http import EPOCH_PATH, HELLO_PATH
from pef_protocol.identity import Epoch, InstanceId

FIRST_WAIT: Final = 0.02
LONGEST_WAIT: Final = 1.0
OK: Final = 200
SLOTS: Final = "slots"
"""The feature of a peer that keeps answers."""


class LinkState(Enum):
    """What this Hypervisor is to the Ultravisor; the value says why it is not ready."""

    JOINING = "no epoch yet: the Ultravisor has not answered hello"
    READY = "ready"
    SUPERSEDED = "superseded: another Hypervisor has taken over; an operator has to end this one"


class Link:
    """Says hello, watches for another Ultravisor, and makes this side fit it.

    `memory` is what hello tells of normal memory: the name and bytes of its file, or None. `joined` is called
    after each hello that was answered.
    """

    def __init__(
        self,
        service: Service,
        machine: Hypervisor,
        peer: Peer,
        instance: InstanceId,
        memory: dict[str, Any] | None,
        joined: Callable[[], None],
    ) -> None:
        self.state = LinkState.JOINING
        self._service = service
        self._machine = machine
        self._peer = peer
        self._instance = instance
        self._memory = memory
        self._joined = joined
        self._doubted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        service.not_ready = lambda: self.state.value

    def doubt(self) -> None:
        """Have the current epoch read again: somebody says that it is another one."""
        self._doubted.set()

    async def start(self) -> None:
        """Begin to join and to watch."""
        self._task = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """Stop watching."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _keep(self) -> None:
        await self._join()
        while self.state is LinkState.READY:
            await self._doubted.wait()
            self._doubted.clear()
            await self._look()

    async def _look(self) -> None:
        """Read the current epoch, and follow what it says."""
        mine = self._service.fence.epoch
        current = await self._read()
        if mine is not None and current != mine and await self._left_for(current, mine):
            await self._join()

    async def _left_for(self, current: Epoch, mine: Epoch) -> bool:
        """End our epoch, for another one is the current one; return whether a new hello may be said."""
        self._service.fence.end()
        if current.instance == mine.instance:
            self.state = LinkState.SUPERSEDED
            return False
        self.state = LinkState.JOINING
        await self._service.run_alone(self._machine.end_operations())
        return True

    async def _join(self) -> None:
        """Say hello until it is answered, and make this side fit the Ultravisor that answered.

        Order: nothing is admitted, and nobody is told that we are ready, before all entries are written. What
        is cut off begins anew: in the same epoch if that is still the current one.
        """
        self._service.fits = False
        epoch = await self._begin()
        while not await self._fitted(epoch):
            current = await self._read()
            if current == epoch:
                await asyncio.sleep(LONGEST_WAIT)
            elif await self._left_for(current, epoch):
                epoch = await self._begin()
            else:
                return
        self._service.fits = True
        self.state = LinkState.READY

    async def _begin(self) -> Epoch:
        """Say hello until it is answered; return the epoch that began."""
        epoch = await self._say_hello()
        self._joined()
        self._machine.store.epoch = self._service.fence.begin(epoch)
        return epoch

    async def _fitted(self, epoch: Epoch) -> bool:
        """Make every VM fit the Ultravisor, while `epoch` is the current one; return whether that is done."""
        fitting = asyncio.ensure_future(self._service.run_first(self._machine.fit_new_ultravisor()))
        watching = asyncio.ensure_future(self._until_other_than(epoch))
        try:
            await asyncio.wait({fitting, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not fitting.done():
                self._service.fence.end()
            await fitting
        except (Ended, PeerFailure):
            return False
        finally:
            watching.cancel()
            fitting.cancel()
        return True

    async def _until_other_than(self, epoch: Epoch) -> None:
        """Look at the current epoch whenever it is in doubt, until it is another one than `epoch`."""
        while True:
            await self._doubted.wait()
            self._doubted.clear()
            if await self._read() != epoch:
                return

    async def _say_hello(self) -> Epoch:
        """Read the epoch and say hello with it, as often as it takes; return the epoch that began."""
        while True:
            read = await self._read()
            form = {
                "instance": self._instance,
                "epoch": str(read),
                "memory": self._memory,
                "slots": True,
            }
            with suppress(PeerFailure):
                status, answer = await self._peer.exchange("POST", HELLO_PATH, form)
                epoch = Epoch.parse(str(answer.get("epoch", "")))
                if status == OK and epoch is not None:
                    features = answer.get("features")
                    self._peer.slots = isinstance(features, list) and SLOTS in features
                    return epoch
            await asyncio.sleep(FIRST_WAIT)

    async def _read(self) -> Epoch:
        """Return the current epoch, asking until the Ultravisor answers."""
        wait = FIRST_WAIT
        while True:
            with suppress(PeerFailure):
                status, answer = await self._peer.exchange("GET", EPOCH_PATH)
                epoch = Epoch.parse(str(answer.get("epoch", "")))
                if status == OK and epoch is not None:
                    return epoch
            await asyncio.sleep(wait)
            wait = min(LONGEST_WAIT, wait * 2)
