"""The tour that `pef demo` gives: one VM's life as both visors see it, then the designs side by side.

What is printed is what was observed. Each chapter says what is about to happen, does it over HTTP, and shows
what guest and host read back. The tour ends well only if all of it is as the protocol says.
"""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Final

from rich.console import Console

from pef_lab.designs import boot, hot_plug, sharing
from pef_lab.designs.fixture import Fixture, set_up
from pef_lab.designs.plan import Run, plan_touched
from pef_lab.designs.run import (
    MARGIN,
    Ordered,
    PairSource,
    fresh_pairs,
    image_for,
    run_designs,
    standing_pair,
)
from pef_lab.designs.theory import surprises
from pef_lab.endpoints import Endpoints
from pef_lab.findings import Findings, Verdict
from pef_lab.guide import Guide
from pef_lab.normal_memory import NormalMemoryForm
from pef_lab.pages import OPAQUE, Generation, kinds_of, text_of
from pef_lab.pair import Pair, PairPlan, started
from pef_lab.progress import reporting, waiting
from pef_lab.sizes import show_seconds, show_size
from pef_lab.tables import designs_table, faults_of
from pef_lab.trace import Recording
from pef_lab.watch import Watch
from pef_protocol.designs import SHOWN, Design
from pef_protocol.quantities import gpa_of

TOUR_SIZE: Final = 256 << 20
TOUR_TOUCHED: Final = 4 << 20
TABLE_SIZE: Final = 1 << 30
TABLE_TOUCHED: Final = 32 << 20
SECRET: Final = Generation.PRIVATE


async def tour(
    console: Console,
    progress: Console,
    normal_memory: NormalMemoryForm,
    standing: Endpoints | None = None,
    *,
    section: int | None = None,
    goes_on: Callable[[], Awaitable[None]] | None = None,
) -> list[str]:
    """Give the tour, on the pair that stands or on fresh ones.

    `section`: the number of the one section that is shown, from 1 to `SECTIONS`; those before it are done
    without a word, those after it are not done. `goes_on` is waited for after each section that is shown.

    Return, in plain words, what came out otherwise than the protocol says.
    """
    guide = Guide(console, Findings(), only=section, goes_on=goes_on)
    wrong = [] if section == SECTIONS else await _one_life(guide, progress, normal_memory, standing)
    if section is not None and section < SECTIONS:
        return wrong
    guide.chapters = SECTIONS - 1
    source = standing_pair(standing) if standing else fresh_pairs(TABLE_SIZE, normal_memory)
    return wrong + await _the_designs(
        guide, progress, source, "on the pair" if standing else "on a fresh pair"
    )


async def _one_life(
    guide: Guide, progress: Console, normal_memory: NormalMemoryForm, standing: Endpoints | None
) -> list[str]:
    """Show both services, and one VM's life; return what came out otherwise than the protocol says."""
    findings = guide.findings
    async with AsyncExitStack() as stack:
        if standing:
            endpoints = standing
            _introduce_standing(guide, standing)
        else:
            with waiting(progress, "starting both services"):
                plan_of_pair = PairPlan(2 * TOUR_SIZE + MARGIN, normal_memory)
                pair = await stack.enter_async_context(started(plan_of_pair))
            endpoints = pair.endpoints
            _introduce(guide, pair)
        await guide.end_chapter()
        if guide.has_ended:
            return []
        async with Watch(endpoints) as watch:
            image = image_for(TOUR_SIZE, await watch.machine_public_key())
        plan = plan_touched(TOUR_SIZE, TOUR_TOUCHED, image)
        recording = Recording()
        with findings.step("tour"):
            async with set_up(Design.TRACKED, plan, image, endpoints, findings, recording) as fixture:
                await _life(guide, fixture)
        guide.show_findings()
    return [
        f"{each.what}: {each.observed} (expected: {each.expected})"
        for each in findings.observations
        if each.verdict is not Verdict.OK
    ]


async def _life(guide: Guide, fixture: Fixture) -> None:
    """Lead one VM from its boot to its reboot, or to the end of the one section that is shown."""
    for section in LIFE:
        await section(guide, fixture)
        await guide.end_chapter()
        if guide.has_ended:
            return


async def _shares(guide: Guide, fixture: Fixture) -> None:
    guide.chapter(
        "Sharing a page",
        "The guest shares a page to speak with the host: both map one normal page.",
        "It is zero at each change of owner, so that neither finds what the other had there.",
        "It must work alike for a page that is paged out, and for one that the host unmaps meanwhile.",
    )
    await sharing.share_unshare(fixture)
    guide.show_findings()


async def _plugs(guide: Guide, fixture: Fixture) -> None:
    guide.chapter(
        "Memory hot-plug",
        "A slot plugged into a secure VM is secure from its first byte.",
        "One that is unplugged leaves nothing behind.",
    )
    await hot_plug.hot_add(fixture)
    await hot_plug.hot_remove(fixture)
    guide.show_findings()


async def _reboots(guide: Guide, fixture: Fixture) -> None:
    guide.chapter(
        "Reboot",
        "The VM is reset while some of its pages lie encrypted in normal memory.",
        "It starts as a normal VM and must find nothing of its secure past: neither text nor ciphertext.",
    )
    await boot.reboot(fixture)
    guide.show_findings()


async def _again(guide: Guide, fixture: Fixture) -> None:
    guide.chapter("And again", "The same VM boots, and enters secure mode a second time.")
    await boot.second_esm(fixture)
    guide.show_findings()


def _introduce(guide: Guide, pair: Pair) -> None:
    guide.chapter(
        "Two visors, two processes",
        f"The Ultravisor is process {pair.ultravisor.pid}, the Hypervisor {pair.hypervisor.pid}.",
        "They speak HTTP, and share neither protocol logic nor secure memory.",
        "The Hypervisor owns normal memory; "
        + (
            f"both map it ({pair.normal_memory})."
            if pair.normal_memory
            else "the Ultravisor reaches it by HTTP."
        ),
        "Secure memory is a private mapping of the Ultravisor: no file, no segment, no request shows it.",
    )


def _introduce_standing(guide: Guide, standing: Endpoints) -> None:
    guide.chapter(
        "Two visors, two processes",
        f"The Ultravisor answers at {standing.ultravisor_url}, the Hypervisor at {standing.hypervisor_url}.",
        "They speak HTTP, and share neither protocol logic nor secure memory.",
        "The Hypervisor owns normal memory. Secure memory is a private mapping of the Ultravisor:",
        "no file, no segment, no request shows it.",
    )


async def _normal(guide: Guide, fixture: Fixture) -> None:
    guide.chapter(
        "A normal VM",
        f"A VM of {show_size(fixture.plan.size)} boots as any other. Its host sees all that it writes.",
    )
    await boot.prepare(fixture)
    gfn = fixture.plan.shared
    by_guest, by_host = await guide.show_page(fixture, gfn)
    same = by_guest == by_host
    guide.findings.see("both views of one page", "the same bytes", _alike(by_guest, by_host), ok=same)
    guide.show_findings()


async def _becomes_secure(guide: Guide, fixture: Fixture) -> None:
    guide.chapter(
        "UV_ESM: the VM becomes secure",
        "The guest's one call makes the Ultravisor ask the Hypervisor (H_SVM_INIT_START, H_SVM_PAGE_IN,",
        "H_SVM_INIT_DONE), which answers by ultracalls while its own answer is awaited. Calls nest:",
    )
    known = len(fixture.recording.events)
    cost = await boot.enter_secure_mode(fixture)
    guide.show_calls(fixture.recording.events[known:])
    counted = cost.counted
    guide.say(
        f"{show_seconds(cost.seconds)}, {counted.ultracalls} ultracalls, {counted.hypercalls} hypercalls,"
        f" {counted.gfns_carried:,} GFNs carried, {show_size(counted.bytes_moved)} moved."
    )
    guide.say(
        "What nobody asked for reads zero now: the guest's old text is gone, throw-away content as it was.",
        "Calls that have no other below them stand on one line with their code.",
    )
    await boot.first_boot(fixture)
    await fixture.tables_agree("after UV_ESM", anew=True)
    guide.show_findings()


async def _two_views(guide: Guide, fixture: Fixture) -> None:
    guide.chapter(
        "One page, two views",
        "The guest writes a secret. The host may look, and gets what UV_PAGE_OUT gives it: ciphertext.",
    )
    await fixture.guest_writes(SECRET, (*fixture.plan.touched, *fixture.plan.fresh))
    gfn = fixture.plan.shared
    _, first = await guide.show_page(fixture, gfn)
    _, second = await guide.show_page(fixture, gfn)
    for nth, octets in (("host's first look", first), ("host's second look", second)):
        opaque = int(kinds_of(octets, gfn)[0]) == OPAQUE
        guide.findings.see(nth, "ciphertext", "ciphertext" if opaque else "no ciphertext", ok=opaque)
    guide.findings.see(
        "the same page, paged out twice",
        "two ciphertexts that differ",
        _alike(first, second),
        ok=first != second,
    )
    guide.show_findings()


async def _out_and_in(guide: Guide, fixture: Fixture) -> None:
    gfn = fixture.plan.shared
    guide.chapter(
        "Out and in",
        "The page is out now, encrypted, in normal memory.",
        "The guest's next load brings it back, if it is genuine:",
    )
    page = [Run(gfn, 1)]
    await fixture.host_touches("the host looks once more", page)
    known = len(fixture.recording.events)
    await fixture.guest_sees("guest reads its paged-out page", page, SECRET.words, SECRET)
    guide.show_calls(fixture.recording.events[known:])
    await fixture.host_touches("the host looks once more", page)
    genuine = await fixture.vmm.read(fixture.lpid, gpa_of(gfn), len(text_of(SECRET, gfn, 1)))
    await fixture.vmm.write(fixture.lpid, gpa_of(gfn), bytes([genuine[0] ^ 1]))
    await guide.refused("guest reads it after the host changed one bit of it", fixture, gfn)
    await fixture.vmm.write(fixture.lpid, gpa_of(gfn), genuine[:1])
    await fixture.guest_sees("guest reads it after the host undid that", page, SECRET.words, SECRET)
    await fixture.tables_agree("after out and in")
    guide.show_findings()


async def _the_designs(guide: Guide, progress: Console, source: PairSource, where: str) -> list[str]:
    guide.chapter(
        "Five designs, one question, one repair",
        "Who moves the pages that the Ultravisor does not ask for?",
        f"Each design goes through the same steps {where};",
        f"the VM has {show_size(TABLE_SIZE)}, {show_size(TABLE_TOUCHED)} of it written before UV_ESM.",
    )
    ordered = Ordered(SHOWN, TABLE_SIZE, TABLE_TOUCHED)
    with reporting(progress, len(ordered.designs)) as tell:
        reports = [report async for report in run_designs(ordered, source, Recording(wanted=False), tell)]
    guide.show(designs_table(reports, f"VM of {show_size(TABLE_SIZE)}"))
    for report in reports:
        for line in faults_of(report, most=2):
            guide.show(line)
    found = surprises(reports, TABLE_SIZE)
    guide.say(
        "eager and broken are history, and wrong as it was: see hot add, host reads, reboot.",
        "pushed is the open question of 2020; nothing is expected of it here.",
        "pushed-fixed is the repair of it.",
    )
    return found


def _alike(one: bytes, other: bytes) -> str:
    return "the same bytes" if one == other else "different bytes"


LIFE: Final = (_normal, _becomes_secure, _two_views, _out_and_in, _shares, _plugs, _reboots, _again)
SECTIONS: Final = len(LIFE) + 2
"""Sections of the tour: the first shows both services, the last one the designs."""
