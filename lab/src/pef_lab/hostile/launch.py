"""A VM is attacked while it becomes secure: attacks 34 to 38."""

from functools import partial
from typing import Final

from pef_lab.between.fault_injections import after, before
from pef_lab.between.passing import Passing
from pef_lab.hostile.attack import Attack
from pef_lab.hostile.requests import NAMES, NOBODY, page_in, page_out
from pef_lab.hostile.trial import AS_BUILT, AS_WRITTEN, Trial
from pef_lab.hostile.victim import FREE, Victim, flipped
from pef_protocol.calls import CALLS
from pef_protocol.codes import HCode, UCode
from pef_protocol.designs import Design
from pef_protocol.events import Side
from pef_protocol.hypercalls import SvmInitAbort, SvmInitDone, SvmInitStart, SvmPageIn, SvmPageOut
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, gfn_of, gpa_of, pages_in
from pef_protocol.runs import PageRuns

ONE, TWO = FREE, FREE + 1
FLAWS: Final = (
    *(("kernel", 0), ("kernel", -1), ("initrd", 70000)),
    *(("rtas", 100), ("esm_blob", -1), ("esm_blob", -900)),
)
"""Parts of an image, and the byte of each in which a bit is flipped."""
DESIGNS: Final = (Design.TRACKED, Design.TRACKED_PAGEIN, Design.PUSHED, Design.EAGER)
OWN: Final = b"the guest's own"
EVIL: Final = b"evil" * (PAGE_SIZE // 4)


async def tampered_image(at: Trial) -> None:
    """Boot images with one bit flipped, in each part that is measured or sealed."""
    hypercalls = at.ground.to_hypervisor
    for part, place in FLAWS:
        async with at.vm(change=partial(flipped, part=part, at=place)) as vm:
            await vm.load_image()
            await vm.guest.store(gpa_of(ONE), OWN)
            hypercalls.honest_again()
            at.answered("UV_ESM", (await vm.enter()).code, UCode.U_PERMISSION)
            called = [name for name in hypercalls.names if name in CALLS]
            at.saw("the last hypercall", called[-1], "H_SVM_INIT_ABORT")
            at.saw("H_SVM_INIT_DONE", "came" if "H_SVM_INIT_DONE" in called else "never", "never")
            found = await vm.guest.load(gpa_of(ONE), len(OWN))
            at.saw_bytes("what the normal VM wrote before", found, OWN, AS_WRITTEN)
            await _is_normal_again(at, vm)


async def _is_normal_again(at: Trial, vm: Victim) -> None:
    """See that a VM whose UV_ESM failed goes on as a normal one, its memory as it was."""
    for side in Side:
        at.saw(f"state of the VM, {side}", await vm.state(side), "NORMAL")
    for gpa, content in vm.image.layout:
        at.saw_bytes(
            "the image in the normal VM", await vm.guest.load(gpa, len(content)), content, "as before"
        )


async def image_tampered_on_its_way(at: Trial) -> None:
    """Change a byte of the kernel when the page is asked for, before it is taken in."""
    async with at.vm() as vm:

        async def tamper(passing: Passing) -> None:
            for ra, gpa, count in passing.form["runs"]:
                if gpa <= vm.image.kernel_base < gpa + count * PAGE_SIZE:
                    await at.ground.memory.poke(ra + vm.image.kernel_base - gpa, b"\xff")

        await vm.load_image()
        at.ground.to_ultravisor.always("UV_PAGE_IN", before(at.happens("a page of the image", tamper)))
        at.answered("UV_ESM", (await vm.enter()).code, UCode.U_PERMISSION)
        at.ground.to_ultravisor.honest_again()
        changed = await vm.guest.load(vm.image.kernel_base, 1)
        at.saw_bytes("the kernel in the normal VM", changed, b"\xff", "as tampered with")
        await at.vm_is(vm, "NORMAL")


async def page_replaced_after_measurement(at: Trial) -> None:
    """Send other pages in for those that were measured, before the VM is secure."""
    await at.ground.memory.poke(at.ground.spare(), EVIL)
    for design in DESIGNS:
        async with at.vm(design) as vm:
            measured = {
                gfn_of(gpa) + page
                for gpa, content in vm.image.layout
                if gpa != vm.image.rtas_address
                for page in range(pages_in(len(content)))
            }

            async def replace(_: Passing, vm: Victim = vm, measured: set[int] = measured) -> None:
                digests = await at.ground.digests()
                for gfn in sorted(measured):
                    await at.made(page_in(vm.lpid, gfn, at.ground.spare()), UCode.U_P2)
                await at.digests_are(digests)

            deed = at.happens(f"H_SVM_INIT_DONE, {design}", replace)
            at.ground.to_hypervisor.answers("H_SVM_INIT_DONE", before(deed))
            await vm.load_image()
            at.answered("UV_ESM", (await vm.enter()).code, UCode.U_SUCCESS)
            await at.image_is_whole(vm)


async def paged_out_page_replaced_before_commit(at: Trial) -> None:
    """Have a measured page go out before the VM is secure, and another one come in for it."""
    async with at.vm() as vm:
        kernel = gfn_of(vm.image.kernel_base)
        kept, forged = at.ground.spare(), at.ground.spare(1)

        async def swap_it(_: Passing) -> None:
            await at.made(page_out(vm.lpid, kernel, kept), UCode.U_SUCCESS)
            await at.ground.memory.poke(forged, vm.image.kernel[:PAGE_SIZE])
            await at.foiled(page_in(vm.lpid, kernel, forged), UCode.U_P3)
            await at.made(page_in(vm.lpid, kernel, kept), UCode.U_SUCCESS)

        deed = at.happens("H_SVM_INIT_DONE", swap_it)
        at.ground.to_hypervisor.answers("H_SVM_INIT_DONE", before(deed))
        await vm.load_image()
        at.answered("UV_ESM", (await vm.enter()).code, UCode.U_SUCCESS)
        await at.image_is_whole(vm)


async def bytes_implanted_outside_the_image(at: Trial) -> None:
    """Have bytes lie, and send pages in, where the image is not, before and during UV_ESM."""
    async with at.vm() as vm:
        implanted = b"implanted before UV_ESM" * 1000
        await at.ground.vmm.write(vm.lpid, gpa_of(ONE), implanted)
        await at.ground.memory.poke(at.ground.spare(), EVIL)

        async def implant(_: Passing) -> None:
            await at.made(page_in(vm.lpid, TWO, at.ground.spare()), UCode.U_P2)

        deed = at.happens("a hypercall of UV_ESM", implant)
        at.ground.to_hypervisor.always("H_SVM_PAGE_IN", before(deed))
        at.ground.to_hypervisor.always("H_SVM_INIT_START", after(deed))
        await vm.load_image()
        at.answered("UV_ESM", (await vm.enter()).code, UCode.U_SUCCESS)
        at.ground.to_hypervisor.honest_again()
        await at.foiled(page_in(vm.lpid, TWO, at.ground.spare()), UCode.U_P2)
        await at.guest_reads_zero(vm, ONE, TWO)


async def life_cycle_out_of_order(at: Trial) -> None:
    """Make the life-cycle's hypercalls where they have no place, in the Ultravisor's name."""
    async with at.svm() as vm, at.vm() as normal:
        await vm.write(ONE)
        runs = PageRuns.of((0, 1))
        paging = [make(normal.lpid, runs, 0, PAGE_ORDER) for make in (SvmPageIn, SvmPageOut)]
        promised = {
            HCode.H_STATE: (SvmInitStart(vm.lpid), SvmInitDone(vm.lpid), SvmInitAbort(vm.lpid)),
            HCode.H_UNSUPPORTED: (
                *(SvmInitDone(normal.lpid), SvmInitAbort(normal.lpid), *paging),
                *(SvmInitDone(NOBODY), SvmInitAbort(NOBODY)),
            ),
            HCode.H_PARAMETER: (SvmInitStart(NOBODY),),
        }
        digests = await at.ground.digests()
        for code, requests in promised.items():
            for request in requests:
                at.answered(NAMES[type(request)], (await at.ground.hypercall(request)).code, code)
        await at.digests_are(digests)
        await at.guest_finds(vm)


async def start_twice(at: Trial) -> None:
    """Make H_SVM_INIT_START again while UV_ESM is under way."""
    async with at.vm() as vm:

        async def start_again(_: Passing) -> None:
            digests = await at.ground.digests()
            reply = await at.ground.hypercall(SvmInitStart(vm.lpid))
            at.answered("H_SVM_INIT_START", reply.code, HCode.H_STATE)
            await at.digests_are(digests)

        deed = at.happens("a page of the image", start_again)
        at.ground.to_hypervisor.answers("H_SVM_PAGE_IN", before(deed))
        await vm.load_image()
        at.answered("UV_ESM", (await vm.enter()).code, UCode.U_SUCCESS)
        await at.image_is_whole(vm)


async def page_out_of_an_aborted_svm(at: Trial) -> None:
    """Ask for pages of a VM whose UV_ESM failed: its own image is given, and nothing else."""
    async with at.vm(change=lambda image: flipped(image, "kernel", 5)) as vm:
        kernel = gfn_of(vm.image.kernel_base)
        given, empty = at.ground.spare(0), at.ground.spare(1)

        async def page_them_out(_: Passing) -> None:
            await at.vm_is(vm, "ABORT")
            await at.made(page_out(vm.lpid, kernel, given), UCode.U_SUCCESS)
            await at.foiled(page_out(vm.lpid, ONE, empty), UCode.U_STATE)
            await at.foiled(page_in(vm.lpid, ONE, empty), UCode.U_STATE)

        deed = at.happens("H_SVM_INIT_ABORT", page_them_out)
        at.ground.to_hypervisor.answers("H_SVM_INIT_ABORT", before(deed))
        await vm.load_image()
        at.answered("UV_ESM", (await vm.enter()).code, UCode.U_PERMISSION)
        back = await at.ground.memory.peek(given)
        at.saw_bytes("the page that was given back", back, vm.image.kernel[:PAGE_SIZE], AS_BUILT)
        await _is_normal_again(at, vm)


ATTACKS: Final = (
    Attack(34, "images with a bit flipped in each part", tampered_image),
    Attack(34, "the kernel changes between asked for and taken in", image_tampered_on_its_way),
    Attack(35, "measured pages are replaced before the commit", page_replaced_after_measurement),
    Attack(35, "a measured page goes out, and another comes in", paged_out_page_replaced_before_commit),
    Attack(36, "bytes are implanted outside the image", bytes_implanted_outside_the_image),
    Attack(37, "hypercalls of the life cycle out of order", life_cycle_out_of_order),
    Attack(37, "H_SVM_INIT_START twice", start_twice),
    Attack(38, "pages of a VM whose UV_ESM failed are asked for", page_out_of_an_aborted_svm),
)
