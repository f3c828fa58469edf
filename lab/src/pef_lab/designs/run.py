"""Runs designs one after another, each on a pair of its own, through the same sequence of steps."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from pef_lab.designs import boot, hot_plug, private_pages, sharing
from pef_lab.designs.fixture import Fixture, set_up
from pef_lab.designs.plan import plan_touched
from pef_lab.designs.report import DesignReport, report_of
from pef_lab.endpoints import Endpoints
from pef_lab.failures import WrongInput
from pef_lab.findings import Findings, Verdict
from pef_lab.guest import World
from pef_lab.image import GuestImage, build_image
from pef_lab.normal_memory import NormalMemoryForm
from pef_lab.pair import PairPlan, started
from pef_lab.trace import Recording
from pef_lab.watch import Watch
from pef_protocol.designs import DesignName

SEED: Final = 1
BOOTARGS: Final = "console=hvc0 svm=on"
FILES: Final = MappingProxyType({"disk-key": b"the key of the guest's disk"})
SOME_PUBLIC_KEY: Final = bytes([9, *bytes(31)])
"""A valid X25519 key, for an image of which only the layout matters."""
MARGIN: Final = 256 << 20
"""Bytes of secure memory beyond twice the VM: for what the Ultravisor needs itself."""

STEPS: Final[Mapping[str, Callable[[Fixture], Awaitable[None]]]] = MappingProxyType(
    {
        "host_reads": private_pages.host_reads,
        "guest_reads": private_pages.guest_reads,
        "share_unshare": sharing.share_unshare,
        "hot_add": hot_plug.hot_add,
        "hot_remove": hot_plug.hot_remove,
        "reboot": boot.reboot,
    }
)
"""What is done with an SVM, in this order, between its first UV_ESM and its second."""

STAGES: Final = len(STEPS) + 2
"""Stages of one design's run, for whoever shows progress."""

Tell = Callable[[DesignName, str], None]
PairSource = Callable[[], AbstractAsyncContextManager[Endpoints]]


@dataclass(frozen=True, slots=True)
class Ordered:
    """What to run: designs, size of the VM and bytes touched in it."""

    designs: Sequence[DesignName]
    size: int
    touched: int


def fresh_pairs(size: int, normal_memory: NormalMemoryForm) -> PairSource:
    """Return a source of fresh pairs that can hold a VM of `size` bytes twice."""

    @asynccontextmanager
    async def source() -> AsyncIterator[Endpoints]:
        async with started(PairPlan(2 * size + MARGIN, normal_memory)) as pair:
            yield pair.endpoints

    return source


def standing_pair(endpoints: Endpoints) -> PairSource:
    """Return a source that always gives the pair that stands at `endpoints`."""

    @asynccontextmanager
    async def source() -> AsyncIterator[Endpoints]:
        yield endpoints

    return source


def check(ordered: Ordered) -> None:
    """Raise WrongInput where what is ordered can't be run, before anything is started."""
    plan_touched(ordered.size, ordered.touched, image_for(ordered.size, SOME_PUBLIC_KEY))


def image_for(size: int, machine_public_key: bytes) -> GuestImage:
    """Build the guest for a VM of `size` bytes; raise WrongInput where it does not fit."""
    try:
        return build_image(
            memory_size=size,
            machine_public_key=machine_public_key,
            bootargs=BOOTARGS,
            files=FILES,
            seed=SEED,
        )
    except ValueError as fault:
        raise WrongInput(f"--size: {fault}") from None


async def run_designs(
    ordered: Ordered, source: PairSource, recording: Recording, tell: Tell
) -> AsyncIterator[DesignReport]:
    """Run every design that is ordered, yielding each report as it is ready; `tell` hears of each stage."""
    for design in ordered.designs:
        yield await run_design(design, ordered, source, recording, tell)


async def run_design(
    design: DesignName, ordered: Ordered, source: PairSource, recording: Recording, tell: Tell
) -> DesignReport:
    """Run one design; what goes wrong by the protocol is an observation in its report.

    A fault of the machine or its operator is raised: it says nothing about a design.
    """
    findings = Findings()
    costs: list[boot.Cost] = []
    with findings.step("first_boot"):
        async with source() as endpoints:
            async with Watch(endpoints) as watch:
                image = image_for(ordered.size, await watch.machine_public_key())
            plan = plan_touched(ordered.size, ordered.touched, image)
            async with set_up(design, plan, image, endpoints, findings, recording) as fixture:
                await _stages(fixture, tell, costs)
    return report_of(design, costs[0] if costs else None, findings)


async def _stages(fixture: Fixture, tell: Tell, costs: list[boot.Cost]) -> None:
    tell(fixture.design, "first_boot")
    with fixture.findings.step("first_boot"):
        await boot.prepare(fixture)
        costs.append(await boot.enter_secure_mode(fixture))
        await boot.first_boot(fixture)
    for name, step in STEPS.items():
        tell(fixture.design, name)
        with fixture.findings.step(name):
            if fixture.guest.world is not World.SECURE:
                fixture.findings.add(Verdict.ERROR, "the step is reached", "a secure VM", "a normal VM")
                continue
            await step(fixture)
    tell(fixture.design, "second_esm")
    with fixture.findings.step("second_esm"):
        await boot.second_esm(fixture)
