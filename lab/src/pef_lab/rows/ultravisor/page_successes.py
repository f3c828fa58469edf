"""The paging calls as they should be, and what they mean at special moments of a VM's life."""

from typing import Final

from pef_lab.rows.playing.script import Held
from pef_lab.rows.row import Finding, Kind
from pef_lab.rows.stage import Stage
from pef_lab.rows.ultravisor.collected import OK, Collected, Pages, must, pages_of_svm
from pef_lab.rows.ultravisor.scene import ALONE, aborted_vm, active_vm
from pef_lab.rows.ultravisor.seen import PAGES, Word, compared, word_of
from pef_lab.rows.ultravisor.vm import FIRST_FREE, Vm, normal_vm, svm
from pef_protocol.codes import UCode
from pef_protocol.quantities import PAGE_SIZE, SlotId, gfn_of, gpa_of
from pef_protocol.ultracalls import RegisterMemSlot

PAGE_SUCCESSES: Final = Collected(Kind.SUCCESS)
ONE: Final = FIRST_FREE
MANY: Final = 300
"""Runs of one message: more than travel as JSON."""
PLUGGED: Final = 1 << 21
"""The first GFN of a slot that is registered for a row."""


@PAGE_SUCCESSES.row("uv/page-out/success", "UV_PAGE_OUT", "the same page out twice is sealed differently")
async def out_twice(stage: Stage) -> Finding:
    """Page a page out, in and out again."""
    async with pages_of_svm(stage) as pages:
        await pages.write(ONE)
        first, second = await pages.spare(), await pages.spare()
        codes = [
            (await pages.page_out((first, ONE, 1))).code,
            (await pages.page_in((first, ONE, 1))).code,
            (await pages.page_out((second, ONE, 1))).code,
        ]
        sealed = [await pages.vm.host.peek(ra) for ra in (first, second)]
        return compared(
            {"codes": [OK] * 3, "host reads": [Word.SEALED.value] * 2, "the same": False},
            {
                "codes": codes,
                "host reads": [word_of(page).value for page in sealed],
                "the same": sealed[0] == sealed[1],
            },
        )


@PAGE_SUCCESSES.row(
    "uv/page-out/success:equal pages", "UV_PAGE_OUT", "two GFNs with equal pages are sealed differently"
)
async def out_equal(stage: Stage) -> Finding:
    """Page two equal pages out in one message."""
    async with pages_of_svm(stage) as pages:
        await pages.write(ONE, ONE + 1)
        ra = await pages.spare(2)
        answer = await pages.page_out((ra, ONE, 2))
        sealed = [await pages.vm.host.peek(each) for each in (ra, ra + PAGE_SIZE)]
        return compared(
            {"code": OK, "the same": False}, {"code": answer.code, "the same": sealed[0] == sealed[1]}
        )


@PAGE_SUCCESSES.row(
    "uv/page-in/success", "UV_PAGE_IN", "a paged-out page comes back from wherever its ciphertext lies"
)
async def in_from_elsewhere(stage: Stage) -> Finding:
    """Page a page in from a copy of what it was sealed into."""
    async with pages_of_svm(stage) as pages:
        await pages.write(ONE)
        ra, elsewhere = await pages.spare(), await pages.spare()
        must(await pages.page_out((ra, ONE, 1)), "UV_PAGE_OUT")
        await pages.vm.host.poke(elsewhere, await pages.vm.host.peek(ra))
        answer = await pages.page_in((elsewhere, ONE, 1))
        return compared(
            {"code": OK, "guest reads": Word.TEXT},
            {"code": answer.code, "guest reads": word_of(await pages.vm.load(ONE))},
        )


@PAGE_SUCCESSES.row(
    "uv/page-in/success:many runs", "UV_PAGE_IN", "pages go out and come in by hundreds of runs a message"
)
async def many_runs(stage: Stage) -> Finding:
    """Page every other page of a slot out and in, a run each."""
    async with svm(stage) as vm:
        pages = Pages(vm)
        size = 2 * MANY * PAGE_SIZE
        must(
            await pages.ask(RegisterMemSlot(pages.lpid, gpa_of(PLUGGED), size, 0, SlotId(7))),
            "UV_REGISTER_MEM_SLOT",
        )
        last = PLUGGED + 2 * (MANY - 1)
        await pages.write(last)
        ra = await vm.host.spare(2 * MANY)
        runs = [(ra + 2 * each * PAGE_SIZE, PLUGGED + 2 * each, 1) for each in range(MANY)]
        codes = [(await pages.page_out(*runs)).code]
        sealed = word_of(await vm.host.peek(runs[-1][0]))
        codes.append((await pages.page_in(*runs)).code)
        return compared(
            {"codes": [OK, OK], "host reads": Word.SEALED, "guest reads": Word.TEXT},
            {"codes": codes, "host reads": sealed, "guest reads": word_of(await vm.load(last))},
        )


@PAGE_SUCCESSES.row(
    "uv/page-inval/success",
    "UV_PAGE_INVAL",
    "a run of shared pages is withdrawn; the next access brings it back",
)
async def withdrawn(stage: Stage) -> Finding:
    """Withdraw two shared pages, write to one as the host, and read both as the guest."""
    async with pages_of_svm(stage) as pages:
        vm = pages.vm
        await pages.share(ONE, 2)
        answer = await pages.inval((ONE, 2))
        await vm.host.write(vm.lpid, gpa_of(ONE), PAGES[Word.MAIL])
        return compared(
            {"code": OK, "guest reads": Word.MAIL, "and beside it": Word.ZERO},
            {
                "code": answer.code,
                "guest reads": word_of(await vm.load(ONE)),
                "and beside it": word_of(await vm.load(ONE + 1)),
            },
        )


@PAGE_SUCCESSES.row(
    "uv/page-out/success:paged-out guest page",
    "UV_PAGE_OUT",
    "a guest that touches a page that is out gets it back by H_SVM_PAGE_IN",
)
async def fetched(stage: Stage) -> Finding:
    """Have the host take a page out, and the guest read it."""
    async with pages_of_svm(stage) as pages:
        await pages.write(ONE)
        await pages.vm.host.page_out(pages.vm.lpid, ONE)
        return compared({"guest reads": Word.TEXT}, {"guest reads": word_of(await pages.vm.load(ONE))})


@PAGE_SUCCESSES.row(
    "uv/page-out/success:aborted",
    "UV_PAGE_OUT",
    "after a failed UV_ESM a page that the Hypervisor gave comes back in clear",
    ALONE,
)
async def out_in_clear(stage: Stage) -> Finding:
    """Take a page of the image, and one that is none, from a VM whose UV_ESM failed."""
    vm = await aborted_vm(stage)
    try:
        pages = Pages(vm)
        ra = await pages.spare(2)
        kernel = gfn_of(vm.image.kernel_base)
        answer = await pages.page_out((ra, kernel + 1, 1), (ra + PAGE_SIZE, ONE, 1))
        given = await vm.host.peek(ra) == vm.image.kernel[PAGE_SIZE : 2 * PAGE_SIZE]
        return compared(
            {
                "code": UCode.U_STATE.name,
                "refused": ((gpa_of(ONE), 1, int(UCode.U_STATE)),),
                "as it was given": True,
                "the other": Word.OFFER,
            },
            {
                "code": answer.code,
                "refused": answer.refused,
                "as it was given": given,
                "the other": word_of(await vm.host.peek(ra + PAGE_SIZE)),
            },
        )
    finally:
        await vm.end()


@PAGE_SUCCESSES.row(
    "uv/page-in/success:left over",
    "UV_PAGE_IN",
    "a GFN that nobody asked for may be brought while H_SVM_INIT_DONE is outstanding",
    ALONE,
)
async def left_over(stage: Stage) -> Finding:
    """Bring a page while H_SVM_INIT_DONE is outstanding."""
    vm = await active_vm(stage)
    try:
        pages = Pages(vm)
        answer = await pages.page_in((await pages.spare(), ONE, 1))
        entered = await vm.let_go()
        return compared(
            {"code": OK, "UV_ESM": OK, "guest reads": Word.OFFER},
            {"code": answer.code, "UV_ESM": entered, "guest reads": word_of(await vm.load(ONE))},
        )
    finally:
        await vm.end()


@PAGE_SUCCESSES.row(
    "uv/page-in/success:out during UV_ESM",
    "UV_PAGE_IN",
    "a measured page that was out is decrypted like any other, and nothing else passes for it",
    ALONE,
)
async def out_during_esm(stage: Stage) -> Finding:
    """Take a measured page out before the commit, offer it in clear, then as it was sealed."""
    vm = await active_vm(stage)
    try:
        pages = Pages(vm)
        kernel = gfn_of(vm.image.kernel_base)
        ra, clear = await pages.spare(), await pages.spare()
        await vm.host.poke(clear, vm.image.kernel[:PAGE_SIZE])
        codes = [
            (await pages.page_out((ra, kernel, 1))).code,
            (await pages.page_in((clear, kernel, 1))).code,
            (await pages.page_in((ra, kernel, 1))).code,
            await vm.let_go(),
        ]
        return compared(
            {"codes": [OK, UCode.U_P3.name, OK, OK], "guest reads its kernel": True},
            {
                "codes": codes,
                "guest reads its kernel": await vm.load(kernel) == vm.image.kernel[:PAGE_SIZE],
            },
        )
    finally:
        await vm.end()


@PAGE_SUCCESSES.row(
    "uv/page-in/state:not asked for",
    "UV_PAGE_IN",
    "before H_SVM_INIT_DONE only pages that the Ultravisor asks for are taken",
    ALONE,
)
async def not_asked_for(stage: Stage) -> Finding:
    """Offer a page while the Ultravisor waits for another one."""
    async with normal_vm(stage) as vm:
        pages = Pages(vm)
        await vm.hold(vm.esm, "H_SVM_PAGE_IN", Held())
        answer = await pages.page_in((await pages.spare(), ONE, 1))
        entered = await vm.let_go()
        return compared(
            {"code": UCode.U_P2.name, "UV_ESM": OK, "guest reads": Word.ZERO},
            {"code": answer.code, "UV_ESM": entered, "guest reads": word_of(await vm.load(ONE))},
        )


@PAGE_SUCCESSES.row(
    "uv/svm-terminate/success:open UV_ESM",
    "UV_SVM_TERMINATE",
    "an SVM ends in any state: its open UV_ESM ends with an error",
    ALONE,
)
async def terminated_while_active(stage: Stage) -> Finding:
    """Terminate a VM whose UV_ESM is open."""
    return await _terminated(await active_vm(stage), UCode.U_STATE)


@PAGE_SUCCESSES.row(
    "uv/svm-terminate/success:aborted", "UV_SVM_TERMINATE", "an aborted SVM ends as any other", ALONE
)
async def terminated_while_aborted(stage: Stage) -> Finding:
    """Terminate a VM whose UV_ESM failed."""
    return await _terminated(await aborted_vm(stage), None)


async def _terminated(vm: Vm, entered: UCode | None) -> Finding:
    try:
        codes = [await vm.terminated(), await vm.terminated()]
        ended = await vm.let_go() if entered else None
        return compared(
            {"codes": [OK, UCode.U_INVALID.name], "UV_ESM": entered.name if entered else ""},
            {"codes": codes, "UV_ESM": ended},
        )
    finally:
        await vm.end()
