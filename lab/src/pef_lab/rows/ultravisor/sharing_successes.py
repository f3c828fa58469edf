"""The sharing calls as they should be: a page is zero whenever it changes its owner."""

from typing import Final

from pef_lab.rows.row import Finding, Kind
from pef_lab.rows.stage import Stage
from pef_lab.rows.ultravisor.collected import OK, Collected, pages_of_svm
from pef_lab.rows.ultravisor.seen import PAGES, Word, compared, word_of
from pef_lab.rows.ultravisor.vm import FIRST_FREE, UPPER
from pef_protocol.codes import UCode
from pef_protocol.quantities import PAGE_SIZE, Gfn, gpa_of
from pef_protocol.ultracalls import SharePage, UnshareAllPages, UnsharePage

SHARING_SUCCESSES: Final = Collected(Kind.SUCCESS)
ONE: Final = FIRST_FREE
TWO: Final = FIRST_FREE + 1


@SHARING_SUCCESSES.row(
    "uv/share-page/success", "UV_SHARE_PAGE", "pages of abutting slots are zero, and both sides'"
)
async def share(stage: Stage) -> Finding:
    """Share a run over two slots, and write to it from both sides."""
    async with pages_of_svm(stage) as pages:
        vm, gpa = pages.vm, gpa_of(UPPER.first)
        await pages.write(UPPER.first)
        answer = await vm.call(SharePage(Gfn(UPPER.first - 1), 3))
        zero = word_of(await vm.load(UPPER.first))
        host_zero = word_of(await vm.host.read(vm.lpid, gpa, PAGE_SIZE))
        await vm.host.write(vm.lpid, gpa, PAGES[Word.MAIL])
        mail = word_of(await vm.load(UPPER.first))
        await vm.store(UPPER.first, PAGES[Word.TEXT])
        return compared(
            {
                "code": OK,
                "guest reads": Word.ZERO,
                "host reads": Word.ZERO,
                "what the host writes": Word.MAIL,
                "what the guest writes": Word.TEXT,
            },
            {
                "code": answer.code,
                "guest reads": zero,
                "host reads": host_zero,
                "what the host writes": mail,
                "what the guest writes": word_of(await vm.host.read(vm.lpid, gpa, PAGE_SIZE)),
            },
        )


@SHARING_SUCCESSES.row(
    "uv/share-page/success:none", "UV_SHARE_PAGE", "no pages are shared well, and nothing is done"
)
async def share_none(stage: Stage) -> Finding:
    """Share no pages."""
    async with pages_of_svm(stage) as pages:
        await pages.write(ONE)
        answer = await pages.vm.call(SharePage(Gfn(ONE), 0))
        return compared(
            {"code": OK, "guest reads": Word.TEXT},
            {"code": answer.code, "guest reads": word_of(await pages.vm.load(ONE))},
        )


@SHARING_SUCCESSES.row(
    "uv/unshare-page/success", "UV_UNSHARE_PAGE", "what the host wrote is gone: the pages are zero"
)
async def unshare(stage: Stage) -> Finding:
    """Unshare two pages into which the host wrote."""
    async with pages_of_svm(stage) as pages:
        vm = pages.vm
        await pages.write(ONE, TWO)
        await pages.share(ONE, 2)
        for gfn in (ONE, TWO):
            await vm.host.write(vm.lpid, gpa_of(gfn), PAGES[Word.OFFER])
        answer = await vm.call(UnsharePage(Gfn(ONE), 2))
        reads = [word_of(await vm.load(gfn)).value for gfn in (ONE, TWO)]
        await pages.write(ONE)
        return compared(
            {"code": OK, "guest reads": [Word.ZERO.value] * 2, "then writes": Word.TEXT},
            {"code": answer.code, "guest reads": reads, "then writes": word_of(await vm.load(ONE))},
        )


@SHARING_SUCCESSES.row(
    "uv/unshare-all-pages/success",
    "UV_UNSHARE_ALL_PAGES",
    "what the guest shared is zero and secure, GFN 0 included; the rest is as it was",
)
async def unshare_all(stage: Stage) -> Finding:
    """Share GFN 0 and a page of either slot, and take all back."""
    async with pages_of_svm(stage) as pages:
        vm = pages.vm
        gfns = (0, ONE, UPPER.first)
        await pages.write(*gfns)
        for gfn in gfns:
            await pages.share(gfn)
            await vm.host.write(vm.lpid, gpa_of(gfn), PAGES[Word.OFFER])
        await pages.write(TWO)
        answer = await vm.call(UnshareAllPages())
        rtas = vm.image.rtas_address // PAGE_SIZE
        return compared(
            {
                "code": OK,
                "guest reads": [Word.ZERO.value] * 3,
                "beside them": Word.TEXT,
                "invalidated": (gpa_of(ONE), 1, int(UCode.U_P2)),
                "the RTAS area": UCode.U_P2.name,
            },
            {
                "code": answer.code,
                "guest reads": [word_of(await vm.load(gfn)).value for gfn in gfns],
                "beside them": word_of(await vm.load(TWO)),
                "invalidated": next(iter((await pages.inval((ONE, 1))).refused), None),
                "the RTAS area": (await vm.call(UnsharePage(Gfn(rtas), 1))).code,
            },
        )
