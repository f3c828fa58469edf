"""One pass of rows: the subject, its doors, and the scenes that rows are played in.

A scene is what has to be there before a call is made: VMs in certain states. It is made when a row first asks
for it, and kept while nothing in it changes; a row that changes it says so (`spend`), and the next one gets a
new scene.
"""

import asyncio
from typing import Any, Final, Protocol, Self, TypeVar

from pef_lab.rows.doors import Doors
from pef_lab.rows.look import Look
from pef_lab.rows.playing.hypervisor import PlayedHypervisor
from pef_lab.rows.playing.ultravisor import PlayedUltravisor
from pef_lab.rows.subject import Evidence, NoScene, Subject

CLEARING: Final = 10.0
"""Seconds that the end of a pass may take."""


class Scene(Protocol):
    """Something that rows are played in."""

    @classmethod
    async def set(cls, stage: "Stage") -> Self:
        """Make the scene; raise NoScene where the subject does not let it be made."""

    async def infer(self) -> tuple[str, ...]:
        """Return the outcomes of calls and reads that would differ if something here had changed."""

    async def strike(self) -> None:
        """Take the scene away, as far as the subject lets it."""


SceneT = TypeVar("SceneT", bound=Scene)


class Stage:
    """A pass: who is tested, by which doors, and who is played by us."""

    def __init__(
        self,
        subject: Subject,
        *,
        ultravisor: Doors | None = None,
        hypervisor: Doors | None = None,
        played: PlayedHypervisor | PlayedUltravisor | None = None,
    ) -> None:
        self.subject: Final = subject
        self._ultravisor = ultravisor
        self._hypervisor = hypervisor
        self.played = played
        self._scenes: dict[type[Any], Any] = {}
        self._seen: tuple[tuple[int, ...], Look] | None = None

    @property
    def ultravisor(self) -> Doors:
        """Return the Ultravisor's doors; raise NoScene where it is not a subject."""
        return _there(self._ultravisor, "an Ultravisor")

    @property
    def hypervisor(self) -> Doors:
        """Return the Hypervisor's doors; raise NoScene where it is not a subject."""
        return _there(self._hypervisor, "a Hypervisor")

    @property
    def sides(self) -> tuple[Doors, ...]:
        """Return the doors of every side that is tested."""
        return tuple(each for each in (self._ultravisor, self._hypervisor) if each is not None)

    async def scene(self, kind: type[SceneT]) -> SceneT:
        """Return the scene of that kind, made now if it is not there."""
        if kind not in self._scenes:
            self._scenes[kind] = await kind.set(self)
        scene: SceneT = self._scenes[kind]
        return scene

    async def spend(self, kind: type[Scene]) -> None:
        """Take a scene away: the next row that asks for one gets a new one."""
        if (scene := self._scenes.pop(kind, None)) is not None:
            await scene.strike()

    async def clear(self) -> None:
        """Take all scenes away."""
        while self._scenes:
            _, scene = self._scenes.popitem()
            await scene.strike()

    async def close(self) -> None:
        """Take all scenes away, as far as that can be had, and close all connections."""
        try:
            async with asyncio.timeout(CLEARING):
                await self.clear()
        except Exception:  # noqa: BLE001 - all verdicts are there; what can't be taken away is left behind
            self._scenes.clear()
        for side in self.sides:
            await side.close()

    async def look(self, scene: Scene) -> Look:
        """See all that a refused call might have changed; where nobody asked anything since, as last seen."""
        if not all(side.can_be_observed for side in self.sides):
            return Look(Evidence.INFERRED, await scene.infer())
        asked = tuple(side.asked for side in self.sides)
        if self._seen is None or self._seen[0] != asked:
            digests = [str((await side.view("digest"))["digest"]) for side in self.sides]
            self._seen = asked, Look(Evidence.DIGEST, tuple(digests))
        return self._seen[1]


def _there(doors: Doors | None, what: str) -> Doors:
    if doors is None:
        raise NoScene(f"{what} is not tested here")
    return doors
