"""A row that is played in a VM of its own: made before, destroyed after, whatever the row does to it."""

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, TypeAlias

from pef_lab.rows.hypervisor.outside import Outside
from pef_lab.rows.hypervisor.scene import probes
from pef_lab.rows.hypervisor.vms import MadeVm, VmPlan, destroyed, made
from pef_lab.rows.playing.ultravisor import PlayedUltravisor
from pef_lab.rows.row import Finding, Kind, Level, Row
from pef_lab.rows.stage import Stage
from pef_lab.rows.subject import Evidence, Subject

ALONE: Final = frozenset({Subject.HYPERVISOR})


class OneVm(NamedTuple):
    """A VM as a scene of its own."""

    outside: Outside
    vm: MadeVm

    @classmethod
    async def set(cls, stage: Stage) -> "OneVm":
        """Make a normal VM."""
        return cls(Outside(stage), await made(Outside(stage), VmPlan()))

    @property
    def lpid(self) -> int:
        """Return the VM's lpid."""
        return self.vm.lpid

    @property
    def played(self) -> PlayedUltravisor:
        """Return the Ultravisor that we play."""
        return self.outside.played

    def sent_since(self, number: int) -> tuple[str, ...]:
        """Return the names of the ultracalls about this VM after the first `number`."""
        return tuple(heard.name for heard in self.outside.heard_since(number, self.lpid))

    def holds(self, gfn: int) -> bytes | None:
        """Return what an Ultravisor of ours holds of a GFN, or None where it holds nothing."""
        svm = self.played.svm(self.lpid)
        page = svm.pages.get(gfn) if svm is not None else None
        return page.content if page is not None else None

    async def infer(self) -> tuple[str, ...]:
        """Return what the VM answers to that which changes nothing if nothing has changed."""
        return tuple([each async for each in probes(self.outside, self.vm)])

    async def strike(self) -> None:
        """Destroy the VM."""
        if isinstance(self.outside.stage.played, PlayedUltravisor):
            self.outside.stage.played.forget(self.lpid)
        await destroyed(self.outside, [self.vm])


Act: TypeAlias = Callable[[OneVm], Awaitable[Finding]]


def found(expected: str, observed: str, unchanged: Evidence | None = None) -> Finding:
    """Compare what was expected with what was seen."""
    return Finding(expected, observed, expected == observed, unchanged)


def row_in_vm(
    place: str,
    kind: Kind,
    call: str,
    clause: str,
    plan: VmPlan,
    act: Act,
    *,
    level: Level = Level.MUST,
    patient: bool = False,
) -> Row:
    """Return a row that acts in a VM made after `plan`, on a Hypervisor alone."""

    async def play(stage: Stage) -> Finding:
        outside = Outside(stage)
        scene = OneVm(outside, await made(outside, plan))
        try:
            return await act(scene)
        finally:
            await scene.strike()

    return Row(place, kind, call, clause, ALONE, play, level, patient)


async def changed(scene: OneVm, deed: Callable[[], Awaitable[str]]) -> tuple[str, bool, Evidence]:
    """Do something; return its code, whether anything is another than before, and how that is known."""
    stage = scene.outside.stage
    before = await stage.look(scene)
    code = await deed()
    after = await stage.look(scene)
    return code, after != before, before.evidence
