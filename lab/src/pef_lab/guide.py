"""The guide of the tour: speaks, shows what was observed since it last did, and one page in two views."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from rich.console import Console, RenderableType
from rich.rule import Rule
from rich.text import Text

from pef_lab.designs.fixture import Fixture
from pef_lab.failures import Refusal
from pef_lab.findings import Findings, Verdict
from pef_lab.sequence import steps_of
from pef_lab.tables import observation_text, page_panel, sequence_table, side_by_side
from pef_lab.trace import Recorded
from pef_protocol.quantities import PAGE_SIZE, gpa_of


@dataclass(slots=True)
class Guide:
    """Leads through a scene. `chapters` counts those that have begun.

    `only`: the number of the one chapter that is shown; what comes before it is done, and not shown.
    `goes_on` is waited for after each chapter that is shown.
    """

    console: Console
    findings: Findings
    chapters: int = 0
    only: int | None = None
    goes_on: Callable[[], Awaitable[None]] | None = None
    _shown: int = field(default=0)

    @property
    def shows(self) -> bool:
        """Tell whether the present chapter is shown."""
        return self.only in {None, self.chapters}

    @property
    def has_ended(self) -> bool:
        """Tell whether nothing more is to be shown."""
        return self.only is not None and self.chapters >= self.only

    def show(self, *shown: RenderableType) -> None:
        """Print something, if the present chapter is shown."""
        if self.shows:
            self.console.print(*shown)

    async def end_chapter(self) -> None:
        """Wait until whoever reads wants to go on."""
        if self.shows and self.goes_on is not None:
            await self.goes_on()

    def chapter(self, title: str, *lessons: str) -> None:
        """Begin a chapter: its title, and what there is to learn."""
        self.chapters += 1
        self.show(Text())
        self.show(Rule(Text(f"{self.chapters}. {title}", "bold cyan"), align="left", style="cyan"))
        self.say(*lessons)

    def say(self, *sentences: str) -> None:
        """Say something, as one paragraph."""
        if sentences:
            self.show(Text(" ".join(sentences)))

    def show_findings(self) -> None:
        """Show what was observed since the last time."""
        for observation in self.findings.observations[self._shown :]:
            self.show(observation_text(observation))
        self._shown = len(self.findings.observations)

    def show_calls(self, events: list[Recorded]) -> None:
        """Show what happened in one step, each call in the column of the side that answered it."""
        self.show(sequence_table(steps_of(events), self.console.width))

    async def show_page(self, fixture: Fixture, gfn: int) -> tuple[bytes, bytes]:
        """Show a page as the guest and as the host see it, and what each table says; return both views.

        The guest looks first: the host's look pages a secure page out.
        """
        by_guest = await fixture.guest.load(gpa_of(gfn), PAGE_SIZE)
        before = await state_of(fixture, gfn)
        by_host = await fixture.vmm.read(fixture.lpid, gpa_of(gfn), PAGE_SIZE)
        after = await state_of(fixture, gfn)
        self.show(
            side_by_side(
                page_panel("in the guest's eyes", by_guest, gfn, style="green"),
                page_panel("in the host's eyes", by_host, gfn, style="red"),
            )
        )
        moved = f", after the host's look {after}" if after != before else ""
        self.show(Text(f"  GFN {gfn:#x}: {before}{moved}", "dim"))
        return by_guest, by_host

    async def refused(self, what: str, fixture: Fixture, gfn: int) -> None:
        """Observe that the guest's load of a page is refused."""
        try:
            await fixture.guest.load(gpa_of(gfn), PAGE_SIZE)
        except Refusal as refusal:
            self.findings.add(Verdict.OK, what, "refused", f"refused ({refusal.detail})")
        else:
            self.findings.add(Verdict.CORRUPT, what, "refused", "the load resolved")


async def state_of(fixture: Fixture, gfn: int) -> str:
    """Return what both tables say of a GFN."""
    for run in (await fixture.tables()).runs:
        if run.first <= gfn < run.first + run.count:
            return f"Hypervisor {run.hypervisor}, Ultravisor {run.ultravisor}"
    return "in no slot"
