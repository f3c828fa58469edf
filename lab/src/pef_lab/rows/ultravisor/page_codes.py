"""What paging and slots answer once their ladders are passed: later codes, and what they leave behind."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Final

from pef_lab.rows.doors import Answer
from pef_lab.rows.row import Finding, Kind
from pef_lab.rows.stage import Stage
from pef_lab.rows.ultravisor.collected import OK, Collected, Pages, must, pages_of_svm
from pef_lab.rows.ultravisor.pool import first_of, plug, pool_of
from pef_lab.rows.ultravisor.scene import ALONE
from pef_lab.rows.ultravisor.seen import Word, compared, word_of
from pef_lab.rows.ultravisor.vm import FIRST_FREE
from pef_protocol.codes import UCode
from pef_protocol.quantities import PAGE_SIZE, Gfn, gpa_of
from pef_protocol.ultracalls import SharePage

PAGE_CODES: Final = Collected(Kind.CODE)
ONE: Final = FIRST_FREE
TWO: Final = FIRST_FREE + 1


async def _bit_flipped(pages: Pages, sealed: int) -> int:
    page = bytearray(await pages.vm.host.peek(sealed))
    page[PAGE_SIZE // 2] ^= 1
    ra = await pages.vm.host.spare()
    await pages.vm.host.poke(ra, bytes(page))
    return ra


async def _older(pages: Pages, sealed: int) -> int:
    """Return an older ciphertext of the page: it was in, changed to the same bytes, and out again since."""
    ra = await pages.vm.host.spare()
    await pages.vm.host.poke(ra, await pages.vm.host.peek(sealed))
    must(await pages.page_in((sealed, ONE, 1)), "UV_PAGE_IN")
    must(await pages.page_out((sealed, ONE, 1)), "UV_PAGE_OUT")
    return ra


async def _neighbours(pages: Pages, _: int) -> int:
    await pages.write(TWO)
    ra = await pages.vm.host.spare()
    must(await pages.page_out((ra, TWO, 1)), "UV_PAGE_OUT")
    return ra


async def _in_clear(pages: Pages, _: int) -> int:
    return await pages.spare(word=Word.TEXT)


FORGERIES: Final[dict[str, tuple[str, Callable[[Pages, int], Awaitable[int]]]]] = {
    "one bit": ("a page with one bit flipped is no page of this GFN", _bit_flipped),
    "older": ("an older ciphertext of a GFN is not the one it went out with", _older),
    "another GFN's": ("a ciphertext of another GFN is not taken", _neighbours),
    "in clear": ("bytes that were never sealed are not taken", _in_clear),
}


async def _forged(stage: Stage, forge: Callable[[Pages, int], Awaitable[int]]) -> Finding:
    """Offer a forgery for a page that is out, then the genuine one."""
    async with pages_of_svm(stage) as pages:
        await pages.write(ONE)
        sealed = await pages.spare()
        must(await pages.page_out((sealed, ONE, 1)), "UV_PAGE_OUT")
        return await _offer_both(pages, await forge(pages, sealed), sealed)


async def _offer_both(pages: Pages, forgery: int, sealed: int) -> Finding:
    answer = await pages.page_in((forgery, ONE, 1))
    genuine = await pages.page_in((sealed, ONE, 1))
    return compared(
        {
            "code": UCode.U_P3.name,
            "refused": ((gpa_of(ONE), 1, int(UCode.U_P3)),),
            "then the genuine one": OK,
            "guest reads": Word.TEXT,
        },
        {
            "code": answer.code,
            "refused": answer.refused,
            "then the genuine one": genuine.code,
            "guest reads": word_of(await pages.vm.load(ONE)),
        },
    )


for way, (clause, forge) in FORGERIES.items():
    PAGE_CODES.row(f"uv/page-in/U_P3:{way}", "UV_PAGE_IN", clause)(partial(_forged, forge=forge))


@PAGE_CODES.row("uv/page-in/U_P3:another SVM's", "UV_PAGE_IN", "a ciphertext of another SVM is not taken")
async def of_another_svm(stage: Stage) -> Finding:
    """Offer the ciphertext of the same GFN, with the same bytes, of another SVM."""
    async with pages_of_svm(stage) as pages, pages_of_svm(stage) as others:
        places = []
        for each in (pages, others):
            await each.write(ONE)
            places.append(await each.spare())
            must(await each.page_out((places[-1], ONE, 1)), "UV_PAGE_OUT")
        return await _offer_both(pages, places[1], places[0])


@PAGE_CODES.row("uv/page-in/U_BUSY", "UV_PAGE_IN", "a GFN whose bytes are on their way in is busy", ALONE)
async def in_busy(stage: Stage) -> Finding:
    """Page a page in twice at once."""
    async with pages_of_svm(stage) as pages:
        await pages.write(ONE)
        ra = await pages.spare()
        must(await pages.page_out((ra, ONE, 1)), "UV_PAGE_OUT")
        return await _twice_at_once(pages, ra, pages.page_in)


@PAGE_CODES.row("uv/page-out/U_BUSY", "UV_PAGE_OUT", "a GFN whose bytes are on their way out is busy", ALONE)
async def out_busy(stage: Stage) -> Finding:
    """Page a page out twice at once."""
    async with pages_of_svm(stage) as pages:
        await pages.write(ONE)
        return await _twice_at_once(pages, await pages.spare(), pages.page_out)


async def _twice_at_once(
    pages: Pages, ra: int, call: Callable[[tuple[int, int, int]], Coroutine[Any, Any, Answer]]
) -> Finding:
    """Make a call while the bytes of the same call are held on the memory bus."""
    held = pages.vm.played.hold_bus(pages.vm.lpid, ra)
    first = await pages.vm.until_held(asyncio.create_task(call((ra, ONE, 1))), held)
    second = await call((await pages.spare(), ONE, 1))
    held.release.set()
    ended = (await first).code
    if ended == OK and call == pages.page_out:
        must(await pages.page_in((ra, ONE, 1)), "UV_PAGE_IN")
    return compared(
        {"code": UCode.U_BUSY.name, "the first": OK, "guest reads": Word.TEXT},
        {
            "code": second.code,
            "the first": ended,
            "guest reads": word_of(await pages.vm.load(ONE)),
        },
    )


@PAGE_CODES.row(
    "uv/page-inval/U_BUSY", "UV_PAGE_INVAL", "a normal page that is being zeroed for a share is busy", ALONE
)
async def inval_busy(stage: Stage) -> Finding:
    """Withdraw a page while the Ultravisor zeroes it."""
    async with pages_of_svm(stage) as pages:
        vm = pages.vm
        held = vm.played.hold_bus(vm.lpid, vm.played.vm(vm.lpid).ra(ONE))
        shared = await vm.begin(SharePage(Gfn(ONE), 1), held)
        answer = await pages.inval((ONE, 1))
        held.release.set()
        return compared(
            {"code": UCode.U_BUSY.name, "the share": OK, "guest reads": Word.ZERO},
            {
                "code": answer.code,
                "the share": (await shared).code,
                "guest reads": word_of(await vm.load(ONE)),
            },
        )


@PAGE_CODES.row(
    "uv/register-mem-slot/U_RETRY", "UV_REGISTER_MEM_SLOT", "no slot is larger than secure memory"
)
async def slot_too_large(stage: Stage) -> Finding:
    """Plug a slot into an SVM for which there can be no room."""
    async with pages_of_svm(stage) as pages:
        await pages.write(ONE)
        size, _ = await pool_of(pages)
        answer = await pages.ask(plug(pages, 7, size + 1))
        smaller = await pages.ask(plug(pages, 7, 4))
        return compared(
            {"code": UCode.U_RETRY.name, "a smaller one": OK, "guest reads": Word.TEXT},
            {
                "code": answer.code,
                "a smaller one": smaller.code,
                "guest reads": word_of(await pages.vm.load(ONE)),
            },
        )


@PAGE_CODES.row(
    "uv/page-in/U_RETRY", "UV_PAGE_IN", "a page for which secure memory has no room stays out, and whole"
)
async def no_room(stage: Stage) -> Finding:
    """Fill secure memory while a page is out, offer the page, make room and offer it again."""
    async with pages_of_svm(stage) as pages:
        await pages.write(ONE)
        ra = await pages.spare()
        must(await pages.page_out((ra, ONE, 1)), "UV_PAGE_OUT")
        _, free = await pool_of(pages)
        must(await pages.ask(plug(pages, 7, free)), "UV_REGISTER_MEM_SLOT")
        answer = await pages.page_in((ra, ONE, 1))
        must(await pages.page_out((await pages.spare(), first_of(7), 1)), "UV_PAGE_OUT")
        again = await pages.page_in((ra, ONE, 1))
        return compared(
            {"code": UCode.U_RETRY.name, "with room": OK, "guest reads": Word.TEXT},
            {
                "code": answer.code,
                "with room": again.code,
                "guest reads": word_of(await pages.vm.load(ONE)),
            },
        )
