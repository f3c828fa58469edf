"""Hello: how a Hypervisor becomes the owner of an epoch here, and what ends with the epoch before.

Order: nothing is admitted; all SVM objects are dead; no byte of theirs moves; frames are scrubbed; entries
and kept answers are forgotten; the new normal memory is mapped; only then is the new epoch told. So the first
call of the new Hypervisor comes after the last byte of the old one.

Source: rules 2 and 5 of ARCHITECTURE.md, "Identity and time"; attack catalogue, rows 46 and 56 to 58.
"""

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from pef_kit.core.fence import DEPTHS, SESSIONS, SLOTS
from pef_kit.core.hello import Epochs, Hello
from pef_kit.runtime import openapi
from pef_kit.runtime.app import Service
from pef_kit.runtime.auth import Problem
from pef_kit.runtime.bus import MmapBus, NormalMemory
from pef_kit.runtime.edge import SMALL
from pef_kit.runtime.peer import Peer
from pef_kit.runtime.volume import Misnamed, Volume
from pef_protocol.http import EPOCH_PATH, HELLO_PATH, Role
from pef_protocol.identity import Epoch, InstanceId
from pef_protocol.problems import ProblemType
from pef_ultravisor.from_hypervisor.svm_terminate import end_epoch
from pef_ultravisor.state import Ultravisor


class MemoryFile(BaseModel):
    """A file of normal memory: its name in the directory that both sides have, and its bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(max_length=64)]
    size: Annotated[int, Field(strict=True, gt=0)]


class HelloForm(BaseModel):
    """The body of a hello. `slots` tells whether its sender keeps answers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    instance: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
    epoch: Annotated[str, Field(max_length=64)]
    memory: MemoryFile | None = None
    slots: bool = False


class CurrentEpoch(BaseModel):
    """The current epoch, and the instance of the Hypervisor that owns it."""

    epoch: str
    owner: str | None


class Terms(BaseModel):
    """The epoch that a hello began, what this side offers in it, and the bounds of its slots."""

    epoch: str
    features: list[str]
    sessions: int
    depths: int
    slots: int


@dataclass(slots=True)
class Reception:
    """Who has said hello here, and who may."""

    service: Service
    uv: Ultravisor
    epochs: Epochs
    peer: Peer
    bus: MmapBus | None
    volume: Volume | None
    under_way: bool = False

    async def read(self) -> CurrentEpoch:
        """Tell which epoch is the current one, and who owns it."""
        return CurrentEpoch(epoch=str(self.epochs.current), owner=self.epochs.owner)

    async def hello(self, form: HelloForm) -> Terms:
        """Begin an epoch of the Hypervisor that says hello: what was there of the one before is over."""
        read = Epoch.parse(form.epoch)
        if read is None:
            raise Problem(422, "epoch: not an epoch", "epoch")
        instance = InstanceId(form.instance)
        verdict = self.epochs.judge(instance, read)
        if verdict is Hello.REFUSE:
            reason = f"epoch {read} is not the current one, or this instance had its turn: nothing was done"
            raise Problem(409, reason, kind=ProblemType.OTHER_EPOCH)
        if self.under_way:
            raise Problem(503, "a hello is under way", kind=ProblemType.NOT_NOW)
        if verdict is Hello.TAKE_OVER:
            await self._take_over(instance, form)
        return Terms(
            epoch=str(self.epochs.current),
            features=["slots", "incarnation", "time-left"],
            sessions=SESSIONS,
            depths=DEPTHS,
            slots=SLOTS,
        )

    async def _take_over(self, instance: InstanceId, form: HelloForm) -> None:
        memory = self._memory_of(form.memory)
        self.under_way = True
        try:
            self.service.fence.end()
            await self.service.run_alone(end_epoch(self.uv))
            if self.bus is not None:
                self.bus.memory = memory
            self.peer.slots = form.slots
            self.uv.epoch = self.service.fence.begin(self.epochs.take_over(instance))
        finally:
            self.under_way = False

    def _memory_of(self, file: MemoryFile | None) -> NormalMemory | None:
        """Map the file that a hello names; raise Problem 422 before anything has ended.

        An Ultravisor that maps none reaches normal memory over HTTP, whatever file its owner keeps it in.
        """
        if self.volume is None:
            return None
        if file is None:
            raise Problem(422, "memory: this Ultravisor maps a file", "memory")
        if file.size != self.uv.capacity.normal_bytes:
            reason = f"memory: {file.size} bytes, not {self.uv.capacity.normal_bytes}"
            raise Problem(422, reason, "memory")
        try:
            return self.volume.open(file.name, file.size)
        except (Misnamed, OSError, ValueError) as failure:
            raise Problem(422, f"memory: {failure}", "memory") from None


def add_epoch_routes(reception: Reception) -> None:
    """Add the routes by which an epoch is read and begun."""
    service = reception.service
    service.add(
        "GET",
        EPOCH_PATH,
        reception.read,
        Role.HYPERVISOR,
        Role.OBSERVER,
        tag=openapi.BETWEEN,
        answer=CurrentEpoch,
    )
    service.add(
        "POST",
        HELLO_PATH,
        reception.hello,
        Role.HYPERVISOR,
        tag=openapi.BETWEEN,
        answer=Terms,
        limit=SMALL,
        problems=(409, 503),
    )
    service.not_ready = lambda: "no Hypervisor has said hello"
