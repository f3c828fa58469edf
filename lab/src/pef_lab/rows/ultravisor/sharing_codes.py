"""What sharing answers once its ladder is passed: later codes, and what they leave behind.

Source: decisions, "a share that the Hypervisor refuses", "unshare-all with a refusal"; attacks 18 and 19.
"""

from typing import Final

from pef_lab.rows.playing.script import pretend, refuse
from pef_lab.rows.row import Finding, Kind
from pef_lab.rows.stage import Stage
from pef_lab.rows.ultravisor.collected import OK, Collected, Pages, pages_of_svm
from pef_lab.rows.ultravisor.scene import ALONE
from pef_lab.rows.ultravisor.seen import PAGES, Word, compared, word_of
from pef_lab.rows.ultravisor.vm import FIRST_FREE
from pef_protocol.codes import HCode, UCode
from pef_protocol.quantities import Gfn, gpa_of
from pef_protocol.ultracalls import SharePage, UnshareAllPages, UnsharePage

SHARING_CODES: Final = Collected(Kind.CODE)
ONE: Final = FIRST_FREE
TWO: Final = FIRST_FREE + 1
AGAIN_AND_AGAIN: Final = 64
"""More often than any Ultravisor asks."""


@SHARING_CODES.row(
    "uv/share-page/U_P2:refused",
    "UV_SHARE_PAGE",
    "a share that is refused leaves every page as it was",
    ALONE,
)
async def share_refused(stage: Stage) -> Finding:
    """Share two pages, of which the Hypervisor refuses both."""
    return await _not_shared(stage, refuse_all=True)


@SHARING_CODES.row(
    "uv/share-page/U_P2:refused in part",
    "UV_SHARE_PAGE",
    "a share of which one page is refused leaves every page as it was",
    ALONE,
)
async def share_refused_in_part(stage: Stage) -> Finding:
    """Share two pages, of which the Hypervisor offers one and refuses the other."""
    return await _not_shared(stage, refuse_all=False)


async def _not_shared(stage: Stage, *, refuse_all: bool) -> Finding:
    async with pages_of_svm(stage) as pages:
        vm = pages.vm
        await pages.write(ONE, TWO)
        if refuse_all:
            vm.played.next(vm.lpid, "H_SVM_PAGE_IN", refuse(HCode.H_PARAMETER))
        else:
            vm.played.next(vm.lpid, "H_SVM_PAGE_IN", vm.played.only(vm.lpid, ONE))
        answer = await vm.call(SharePage(Gfn(ONE), 2))
        withdrawn = await pages.inval((ONE, 1))
        again = await vm.call(SharePage(Gfn(TWO), 1))
        return compared(
            {
                "code": UCode.U_P2.name,
                "guest reads": Word.TEXT,
                "not shared": UCode.U_P2.name,
                "the other, shared later": (OK, Word.ZERO.value),
            },
            {
                "code": answer.code,
                "guest reads": word_of(await vm.load(ONE)),
                "not shared": withdrawn.code,
                "the other, shared later": (again.code, word_of(await vm.load(TWO)).value),
            },
        )


@SHARING_CODES.row(
    "uv/share-page/U_P2:pretended",
    "UV_SHARE_PAGE",
    "an SVM whose Hypervisor says that it shared, and offered no page, is aborted",
    ALONE,
)
async def share_pretended(stage: Stage) -> Finding:
    """Share a page, for which the Hypervisor offers none and says that it did."""
    async with pages_of_svm(stage) as pages:
        await pages.write(ONE)
        pages.vm.played.next(pages.vm.lpid, "H_SVM_PAGE_IN", pretend())
        return await _aborted_by(pages, SharePage(Gfn(ONE), 1))


@SHARING_CODES.row(
    "uv/share-page/U_P2:never brought",
    "UV_SHARE_PAGE",
    "a page that is out, and never brought by a Hypervisor that says so, is not shared",
    ALONE,
)
async def share_never_brought(stage: Stage) -> Finding:
    """Share a page that is out, while the Hypervisor pretends to bring it; then it is honest."""
    async with pages_of_svm(stage) as pages:
        vm = pages.vm
        await pages.write(ONE)
        await vm.host.page_out(vm.lpid, ONE)
        vm.played.next(vm.lpid, "H_SVM_PAGE_IN", *[pretend()] * AGAIN_AND_AGAIN)
        answer = await vm.call(SharePage(Gfn(ONE), 1))
        vm.played.vm(vm.lpid).script["H_SVM_PAGE_IN"].clear()
        return compared(
            {"code": UCode.U_P2.name, "guest reads": Word.TEXT},
            {"code": answer.code, "guest reads": word_of(await vm.load(ONE))},
        )


@SHARING_CODES.row(
    "uv/unshare-page/U_P2:refused",
    "UV_UNSHARE_PAGE",
    "an SVM whose Hypervisor keeps a shared page is aborted",
    ALONE,
)
async def unshare_refused(stage: Stage) -> Finding:
    """Unshare a page that the Hypervisor does not give up."""
    async with pages_of_svm(stage) as pages:
        await pages.share(ONE)
        pages.vm.played.next(pages.vm.lpid, "H_SVM_PAGE_IN", refuse(HCode.H_PARAMETER))
        return await _aborted_by(pages, UnsharePage(Gfn(ONE), 1))


async def _aborted_by(pages: Pages, request: object) -> Finding:
    """Make a call after which the SVM never runs again, and hands nothing out."""
    answer = await pages.vm.call(request)
    ra = await pages.spare()
    out = await pages.page_out((ra, ONE, 1))
    later = await pages.vm.call(UnshareAllPages())
    return compared(
        {
            "code": UCode.U_P2.name,
            "its next call": UCode.U_STATE.name,
            "guest reads": Word.NOTHING,
            "page-out": UCode.U_STATE.name,
            "host reads": Word.OFFER,
        },
        {
            "code": answer.code,
            "its next call": later.code,
            "guest reads": word_of(await pages.vm.load(ONE)),
            "page-out": out.code,
            "host reads": word_of(await pages.vm.host.peek(ra)),
        },
    )


@SHARING_CODES.row(
    "uv/unshare-all-pages/U_RETRY",
    "UV_UNSHARE_ALL_PAGES",
    "what is refused stays shared, and can be taken back by another try",
    ALONE,
)
async def unshare_all_refused(stage: Stage) -> Finding:
    """Take all pages back, of which the Hypervisor keeps one at first."""
    async with pages_of_svm(stage) as pages:
        vm = pages.vm
        await pages.share(ONE)
        await vm.host.write(vm.lpid, gpa_of(ONE), PAGES[Word.MAIL])
        vm.played.next(vm.lpid, "H_SVM_PAGE_IN", refuse(HCode.H_PARAMETER))
        answer = await vm.call(UnshareAllPages())
        kept = word_of(await vm.load(ONE))
        again = await vm.call(UnshareAllPages())
        return compared(
            {"code": UCode.U_RETRY.name, "guest reads": Word.MAIL, "again": OK, "then reads": Word.ZERO},
            {
                "code": answer.code,
                "guest reads": kept,
                "again": again.code,
                "then reads": word_of(await vm.load(ONE)),
            },
        )
