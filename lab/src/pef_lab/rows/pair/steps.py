"""The life of a secure VM on a pair, step by step: what guest and host read, and that both tables agree.

Source: specifications of the Ultravisor (2, 3, 6) and of the Hypervisor (4, 6); decisions; designs, the table
of designs; attacks, invariants 1, 4 and 6.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Final, TypeAlias

from pef_lab.rows.hypervisor.outside import Outside, must
from pef_lab.rows.hypervisor.secure_vm import DONE, FREE, loaded
from pef_lab.rows.hypervisor.seen import pool_used
from pef_lab.rows.hypervisor.vms import SOUND, Letter, VmPlan
from pef_lab.rows.pair.joint_view import Joint
from pef_lab.rows.pair.story import GUESTS, HOSTS, OPAQUE, REFUSED, SHARED, ZERO, Story, text_of
from pef_lab.rows.row import Finding, Kind, Row
from pef_lab.rows.stage import Stage
from pef_lab.rows.subject import Subject
from pef_protocol.designs import Design
from pef_protocol.quantities import PAGE_SIZE, gfn_of

PAIR: Final = frozenset({Subject.PAIR})
OLD: Final = FREE
"""A GFN that the host wrote to before UV_ESM, and that no image names."""
LEFT_OVER: Final[Mapping[Design, str]] = {
    Design.TRACKED: ZERO,
    Design.TRACKED_PAGEIN: HOSTS,
    Design.PUSHED_FIXED: HOSTS,
}
"""What the guest reads of a GFN that nobody asked for: secured without a UV_PAGE_IN, or moved by one."""
PLUGGED: Final = (7, 512, 4)
"""A slot to plug in: its id, its first GFN, its pages."""
Step: TypeAlias = Callable[[Story], Awaitable[None]]


async def _after_esm(story: Story) -> None:
    image = story.guest.image
    for gpa, content in ((image.kernel_base, image.kernel), (image.initrd_address, image.initrd)):
        page = await story.guest.load(gfn_of(gpa))
        whole = page is not None and page[: len(content)] == content[:PAGE_SIZE]
        story.see(f"guest reads the image at {gpa:#x}", "as built", "as built" if whole else "other bytes")
    await story.guest_reads(OLD, LEFT_OVER[story.design])
    await story.tables(Joint.SECURE, OLD)
    await story.host_reads(OLD, OPAQUE)
    story.see("normal guest's load", REFUSED, story.kind(OLD, await story.outside.load(story.lpid, OLD)))
    again = (await story.guest.enter()).code
    story.see("UV_ESM of a secure VM", DONE, again)


async def _page_out(story: Story) -> None:
    gfn = story.fresh()
    await story.guest_writes(gfn)
    await story.host_reads(gfn, OPAQUE)
    first = await story.outside.read(story.lpid, gfn)
    await story.tables(Joint.OUT, gfn)
    await story.guest_reads(gfn, GUESTS)
    await story.tables(Joint.SECURE, gfn)
    second = await story.outside.read(story.lpid, gfn)
    story.see("paged out twice", "other bytes", "the same bytes" if first == second else "other bytes")


async def _tampered(story: Story) -> None:
    gfn = story.fresh()
    await story.guest_writes(gfn)
    sealed = await story.outside.read(story.lpid, gfn)
    must("the host reads", "OK" if isinstance(sealed, bytes) else sealed)
    whole = sealed if isinstance(sealed, bytes) else b""
    await story.outside.write(story.lpid, gfn, bytes([whole[0] ^ 1]) + whole[1:])
    await story.guest_reads(gfn, REFUSED)
    await story.tables(Joint.OUT, gfn)
    await story.outside.write(story.lpid, gfn, whole)
    await story.guest_reads(gfn, GUESTS)
    await story.tables(Joint.SECURE, gfn)


async def _share(story: Story) -> None:
    gfn = story.fresh()
    await story.guest_writes(gfn)
    story.see("UV_SHARE_PAGE", DONE, await story.guest.share(gfn))
    await story.tables(Joint.SHARED, gfn)
    await story.host_reads(gfn, ZERO)
    await story.guest_reads(gfn, ZERO)
    await story.guest_writes(gfn, SHARED)
    await story.host_reads(gfn, SHARED)
    await story.outside.write(story.lpid, gfn, text_of(story.lpid, gfn, HOSTS))
    await story.guest_reads(gfn, HOSTS)


async def _share_what_is_out(story: Story) -> None:
    gfn = story.fresh()
    await story.guest_writes(gfn)
    await story.host_reads(gfn, OPAQUE)
    story.see("UV_SHARE_PAGE", DONE, await story.guest.share(gfn))
    await story.tables(Joint.SHARED, gfn)
    await story.host_reads(gfn, ZERO)
    await story.guest_reads(gfn, ZERO)


async def _unshare(story: Story) -> None:
    gfn = story.fresh()
    story.see("UV_SHARE_PAGE", DONE, await story.guest.share(gfn))
    await story.guest_writes(gfn, SHARED)
    story.see("UV_UNSHARE_PAGE", DONE, await story.guest.unshare(gfn))
    await story.tables(Joint.SECURE, gfn)
    await story.guest_reads(gfn, ZERO)
    await story.host_reads(gfn, OPAQUE)


async def _unmap(story: Story) -> None:
    gfn = story.fresh()
    story.see("UV_SHARE_PAGE", DONE, await story.guest.share(gfn))
    await story.guest_writes(gfn, SHARED)
    story.see("the host unmaps it", "OK", await story.outside.unmap(story.lpid, gfn))
    await story.tables(Joint.WITHDRAWN, gfn)
    await story.guest_reads(gfn, SHARED)
    await story.tables(Joint.SHARED, gfn)


async def _reset(story: Story) -> None:
    private, out, shared = story.fresh(), story.fresh(), story.fresh()
    for gfn in (private, out, shared):
        await story.guest_writes(gfn)
    await story.host_reads(out, OPAQUE)
    story.see("UV_SHARE_PAGE", DONE, await story.guest.share(shared))
    story.see("reset", "OK", await story.outside.reset(story.lpid))
    await story.tables(Joint.NORMAL, private)
    for gfn in (private, out, shared):
        await story.normal_guest_reads(gfn, ZERO)
    await story.guest_reads(private, REFUSED)


async def _second_esm(story: Story) -> None:
    private = story.fresh()
    await story.guest_writes(private)
    story.see("reset", "OK", await story.outside.reset(story.lpid))
    for gpa, content in story.guest.image.layout:
        written = await story.outside.write(story.lpid, gfn_of(gpa), content)
        story.see(f"the image is loaded at {gpa:#x}", "OK", written)
    story.see("UV_ESM", DONE, (await story.guest.enter()).code)
    await story.tables(Joint.SECURE, private)
    await story.guest_reads(private, ZERO)
    await story.guest_writes(private)
    await story.host_reads(private, OPAQUE)
    await story.guest_reads(private, GUESTS)


async def _hot_add(story: Story) -> None:
    slotid, first, pages = PLUGGED
    story.see("hot-add", "OK", await story.outside.plug(story.lpid, slotid, first, pages))
    await story.tables(Joint.SECURE, first)
    await story.guest_reads(first, ZERO)
    await story.guest_writes(first)
    await story.host_reads(first, OPAQUE)
    await story.guest_reads(first, GUESTS)
    await story.tables(Joint.SECURE, first)


async def _hot_remove(story: Story) -> None:
    slotid, first, pages = PLUGGED
    story.see("hot-add", "OK", await story.outside.plug(story.lpid, slotid, first, pages))
    await story.guest_writes(first)
    await story.guest_writes(first + 1)
    await story.host_reads(first + 1, OPAQUE)
    story.see("hot-remove", "OK", await story.outside.unplug(story.lpid, slotid))
    await story.tables(Joint.NOWHERE, first)
    await story.guest_reads(first, REFUSED)
    story.see("hot-add", "OK", await story.outside.plug(story.lpid, slotid, first, pages))
    for gfn in (first, first + 1):
        await story.guest_reads(gfn, ZERO)
    await story.tables(Joint.SECURE, first)


async def _destroy(story: Story) -> None:
    gfn = story.fresh()
    await story.guest_writes(gfn)
    story.see("destroy", "OK", await story.outside.destroy(story.lpid))
    await story.guest_reads(gfn, REFUSED)
    story.see("host's read", "ENOENT", str(await story.outside.read(story.lpid, gfn)))


STEPS: Final[Mapping[str, tuple[str, Step]]] = {
    "esm": ("after UV_ESM the guest reads its image, the host nothing", _after_esm),
    "page-out": (
        "what the host reads goes out sealed, and comes back to the guest",
        _page_out,
    ),
    "tampered": ("a sealed page that was changed is refused until it is itself", _tampered),
    "share": ("a shared page begins as zero, and both read and write it", _share),
    "share-paged-out": ("a page that is out is shared as another is", _share_what_is_out),
    "unshare": ("a page that is taken back begins as zero, and is the guest's", _unshare),
    "unmap": ("a shared page that the host took away is brought back as it was", _unmap),
    "reset": ("after a reset nothing secret is left in a normal VM", _reset),
    "second-esm": ("after a reset a VM can become secure anew", _second_esm),
    "hot-add": ("memory plugged into a secure VM is secure, and zero", _hot_add),
    "hot-remove": ("memory taken out is gone, and zero when it is back", _hot_remove),
    "destroy": ("a VM that is destroyed is gone at both sides", _destroy),
}
"""What happens to a secure VM."""
FAILURES: Final[Mapping[str, tuple[str, bool, str]]] = {
    "tampered-kernel": ("kernel", True, "U_PERMISSION"),
    "tampered-initrd": ("initrd", True, "U_PERMISSION"),
    "not-enabled": ("", False, "U_STATE"),
}
"""UV_ESM that fails: the flaw, whether secure guests are enabled for the VM, what the guest reads."""


def rows() -> Iterator[Row]:
    """Yield a row for each step under each design that keeps every promise."""
    for design in SOUND:
        for name, (clause, step) in STEPS.items():
            yield Row(
                f"pair/{name}:{design}",
                Kind.SUCCESS,
                "pair",
                f"{clause} ({design})",
                PAIR,
                _play(design, step),
            )
        for name, (flaw, enabled, code) in FAILURES.items():
            clause = f"UV_ESM fails with {code}, and the VM goes on with its memory ({design})"
            play = _play_failure(design, flaw, code, enabled=enabled)
            yield Row(f"pair/esm-fails/{name}:{design}", Kind.CODE, "pair", clause, PAIR, play)


def _play(design: Design, step: Step) -> Callable[[Stage], Awaitable[Finding]]:
    async def play(stage: Stage) -> Finding:
        outside = Outside(stage)
        guest = await loaded(outside, VmPlan(design=design, gfns={OLD: Letter.N}))
        try:
            story = Story(outside, guest, design)
            story.see("UV_ESM", DONE, (await guest.enter()).code)
            await story.tables()
            await step(story)
            return story.finding()
        finally:
            await outside.destroy(guest.lpid)

    return play


def _play_failure(
    design: Design, flaw: str, code: str, *, enabled: bool
) -> Callable[[Stage], Awaitable[Finding]]:
    async def play(stage: Stage) -> Finding:
        outside = Outside(stage)
        guest = await loaded(outside, VmPlan(design=design, enabled=enabled, gfns={OLD: Letter.N}), flaw)
        try:
            used = await pool_used(outside)
            story = Story(outside, guest, design)
            story.see("UV_ESM", code, (await guest.enter()).code)
            await story.normal_guest_reads(OLD, HOSTS)
            kernel = await outside.load(guest.lpid, gfn_of(guest.image.kernel_base))
            whole = kernel == guest.image.kernel[:PAGE_SIZE]
            story.see("normal guest reads the kernel", "as loaded", "as loaded" if whole else "other bytes")
            await story.tables(Joint.NORMAL, OLD)
            story.see("device pages in use", str(used), str(await pool_used(outside)))
            return story.finding()
        finally:
            await outside.destroy(guest.lpid)

    return play
