"""Each ultracall as it should be: what it does, seen from outside."""

from typing import Final

from pef_lab.rows.doors import HYPERVISOR
from pef_lab.rows.row import Finding, Kind
from pef_lab.rows.stage import Stage
from pef_lab.rows.ultravisor.collected import OK, Collected, must, pages_of_svm
from pef_lab.rows.ultravisor.seen import PAGES, Word, compared, word_of
from pef_lab.rows.ultravisor.vm import FILES, FIRST_FREE, NO_SLOT, UPPER, normal_vm, svm
from pef_protocol.codes import UCode
from pef_protocol.quantities import PAGE_SIZE, Lpid, SlotId, gpa_of
from pef_protocol.ultracalls import (
    EsmbGetFile,
    RegisterMemSlot,
    SvmTerminate,
    UnregisterMemSlot,
    WritePate,
)

SUCCESSES: Final = Collected(Kind.SUCCESS)
FRESH: Final = Lpid(3999)
"""An lpid that no host gives to a VM of ours."""
NEW_SLOT: Final = 7
ONE: Final = FIRST_FREE
TWO: Final = FIRST_FREE + 1


@SUCCESSES.row(
    "uv/write-pate/success", "UV_WRITE_PATE", "an entry makes a VM known, and one of zeroes takes it away"
)
async def write_pate(stage: Stage) -> Finding:
    """Write an entry, and take it away."""
    codes = [
        (await stage.ultravisor.call(HYPERVISOR, request)).code
        for request in (
            WritePate(FRESH, 1, 1),
            SvmTerminate(FRESH),
            WritePate(FRESH, 0, 0),
            SvmTerminate(FRESH),
        )
    ]
    wanted = [OK, UCode.U_INVALID.name, OK, UCode.U_PARAMETER.name]
    return compared({"codes": wanted}, {"codes": codes})


@SUCCESSES.row("uv/esm/success", "UV_ESM", "a VM becomes secure with its image whole, and the rest zero")
async def esm(stage: Stage) -> Finding:
    """Make a VM secure, and read it as its guest."""
    async with normal_vm(stage) as vm:
        await vm.host.write(vm.lpid, gpa_of(ONE), PAGES[Word.OFFER])
        answer = await vm.enter()
        parts = [(vm.image.kernel_base, vm.image.kernel), (vm.image.initrd_address, vm.image.initrd)]
        whole = [await vm.load_bytes(gpa, len(content)) == content for gpa, content in parts]
        entry = (await stage.ultravisor.call(HYPERVISOR, WritePate(Lpid(vm.lpid), 1, 1))).code
        return compared(
            {
                "code": OK,
                "kernel_base": vm.image.kernel_base,
                "fdt": vm.image.fdt_address,
                "kernel and initrd as built": [True, True],
                "a page outside the image": Word.ZERO,
                "RTAS as built": True,
                "its partition-table entry": UCode.U_PERMISSION.name,
                "bounce pages reserved": True,
            },
            {
                "code": answer.code,
                "kernel_base": answer.outputs.get("kernel_base"),
                "fdt": answer.outputs.get("fdt"),
                "kernel and initrd as built": whole,
                "a page outside the image": word_of(await vm.load(ONE)),
                "RTAS as built": await vm.load_bytes(vm.image.rtas_address, PAGE_SIZE) == vm.image.rtas,
                "its partition-table entry": entry,
                "bounce pages reserved": bool(await vm.bounce_pages()),
            },
        )


@SUCCESSES.row("uv/esm/success:again", "UV_ESM", "a secure VM is told that it is, and nothing is done")
async def esm_again(stage: Stage) -> Finding:
    """Make UV_ESM in a secure VM."""
    async with svm(stage) as vm:
        await vm.store(ONE, PAGES[Word.TEXT])
        answer = await vm.enter()
        return compared(
            {"code": OK, "guest reads": Word.TEXT},
            {"code": answer.code, "guest reads": word_of(await vm.load(ONE))},
        )


@SUCCESSES.row(
    "uv/register-mem-slot/success", "UV_REGISTER_MEM_SLOT", "a slot is secure memory of zeroes throughout"
)
async def register(stage: Stage) -> Finding:
    """Register a slot, and use it."""
    async with pages_of_svm(stage) as pages:
        vm = pages.vm
        answer = await pages.ask(_slot(pages.lpid))
        last = NO_SLOT + 3
        before = word_of(await vm.load(last))
        if before is not Word.NOTHING:
            await vm.store(last, PAGES[Word.TEXT])
        beyond = word_of(await vm.load(NO_SLOT + 4))
        return compared(
            {"code": OK, "its last page": Word.ZERO, "written": Word.TEXT, "beyond it": Word.NOTHING},
            {
                "code": answer.code,
                "its last page": before,
                "written": word_of(await vm.load(last)),
                "beyond it": beyond,
            },
        )


def _slot(lpid: Lpid) -> RegisterMemSlot:
    return RegisterMemSlot(lpid, gpa_of(NO_SLOT), 4 * PAGE_SIZE, 0, SlotId(NEW_SLOT))


@SUCCESSES.row(
    "uv/unregister-mem-slot/success",
    "UV_UNREGISTER_MEM_SLOT",
    "a slot goes with all that it held; its shared pages are the host's",
)
async def unregister(stage: Stage) -> Finding:
    """Unregister a slot with a written, a shared and a paged-out GFN, and register it anew."""
    async with pages_of_svm(stage) as pages:
        vm = pages.vm
        first, shared, out = UPPER.first, UPPER.first + 1, UPPER.first + 2
        await pages.write(first, shared, out)
        backing = await pages.spare()
        await pages.share(shared)
        must(await pages.page_in((backing, shared, 1)), "UV_PAGE_IN")
        must(await pages.page_out((await pages.spare(), out, 1)), "UV_PAGE_OUT")
        answer = await pages.ask(UnregisterMemSlot(pages.lpid, SlotId(UPPER.slotid)))
        gone = word_of(await vm.load(first))
        await pages.withdraw(ONE)
        free = (await pages.page_in((backing, ONE, 1))).code
        slot = RegisterMemSlot(
            pages.lpid, gpa_of(UPPER.first), UPPER.pages * PAGE_SIZE, 0, SlotId(UPPER.slotid)
        )
        again = (await pages.ask(slot)).code
        reads = {word_of(await vm.load(gfn)) for gfn in (first, shared, out)}
        return compared(
            {
                "code": OK,
                "guest reads": Word.NOTHING,
                "its normal page is free": OK,
                "registered anew": OK,
                "then reads": {Word.ZERO.value},
            },
            {
                "code": answer.code,
                "guest reads": gone,
                "its normal page is free": free,
                "registered anew": again,
                "then reads": {each.value for each in reads},
            },
        )


@SUCCESSES.row(
    "uv/svm-terminate/success",
    "UV_SVM_TERMINATE",
    "an SVM is gone, its normal pages are free, its VM is normal",
)
async def terminate(stage: Stage) -> Finding:
    """Terminate an SVM with a shared page, whose normal page another SVM then gets."""
    async with pages_of_svm(stage) as pages, pages_of_svm(stage) as others:
        vm = pages.vm
        backing = await pages.spare()
        await pages.share(ONE)
        must(await pages.page_in((backing, ONE, 1)), "UV_PAGE_IN")
        await others.withdraw(ONE)
        taken = (await others.page_in((backing, ONE, 1))).code
        codes = [await vm.terminated(), await vm.terminated()]
        return compared(
            {
                "its page while it lives": UCode.U_P2.name,
                "codes": [OK, UCode.U_INVALID.name],
                "guest reads": Word.NOTHING,
                "its page afterwards": OK,
            },
            {
                "its page while it lives": taken,
                "codes": codes,
                "guest reads": word_of(await vm.load(ONE)),
                "its page afterwards": (await others.page_in((backing, ONE, 1))).code,
            },
        )


@SUCCESSES.row(
    "uv/esmb-get-file/success", "UV_ESMB_GET_FILE", "an attached file is read from front to back, once"
)
async def get_file(stage: Stage) -> Finding:
    """Read a file of 100 bytes."""
    async with svm(stage) as vm:
        answers = [await vm.call(EsmbGetFile("key", offset)) for offset in (0, 64, 100)]
        content = "".join(str(answer.outputs.get("bytes")) for answer in answers)
        return compared(
            {"codes": [OK] * 3, "counts": [64, 36, 0], "the file": True},
            {
                "codes": [answer.code for answer in answers],
                "counts": [answer.outputs.get("count") for answer in answers],
                "the file": content == FILES["key"].hex(),
            },
        )
