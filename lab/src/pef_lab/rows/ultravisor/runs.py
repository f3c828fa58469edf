"""Messages of several runs: what is refused is refused alone and named, and the rest is done.

| id | the message |
|---|---|
| `uv/page-in/runs/ra` | three runs of one page; the middle one is refused by that rung |
| `uv/page-in/runs/mixed` | one run of three pages; the middle page is refused by its state |

Source: ledger, "runs": a run with a bad address is refused whole, one with mixed states is cut.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from pef_lab.rows.doors import Answer
from pef_lab.rows.row import Finding, Kind, Row
from pef_lab.rows.stage import Stage
from pef_lab.rows.ultravisor.collected import OK, Pages, must, pages_of_svm
from pef_lab.rows.ultravisor.scene import ANYWHERE
from pef_lab.rows.ultravisor.seen import PAGES, Word, compared, word_of
from pef_lab.rows.ultravisor.vm import FIRST_FREE, NO_SLOT
from pef_protocol.calls import CALLS
from pef_protocol.codes import UCode
from pef_protocol.quantities import PAGE_SIZE, SECURE_BIT, gpa_of

FIRST, BAD, LAST = range(FIRST_FREE, FIRST_FREE + 3)
"""GFNs: two that are done, and one between them that is not."""
OTHER: Final = FIRST_FREE + 10
MIXED: Final = "mixed"
Placed = tuple[int, int, int]
"""A run: real address, GFN, pages."""


@dataclass(frozen=True)
class Message:
    """A paging call: how GFNs are made ready for it, how it is made, what is seen of one that was done.

    `ready` and `sees` get the real address of the page that belongs to a GFN; `spoil` has a GFN refused for
    its state.
    """

    call: str
    rungs: tuple[str, ...]
    ready: Callable[[Pages, int, int], Awaitable[None]] = field(repr=False)
    spoil: Callable[[Pages, int], Awaitable[None]] = field(repr=False)
    make: Callable[[Pages, list[Placed]], Awaitable[Answer]] = field(repr=False)
    sees: Callable[[Pages, int, int], Awaitable[str]] = field(repr=False)
    done: str


async def _withdrawn(pages: Pages, gfn: int, _: int) -> None:
    await pages.withdraw(gfn)


async def _written(pages: Pages, gfn: int, _: int) -> None:
    await pages.write(gfn)


async def _placed(pages: Pages, gfn: int, ra: int) -> None:
    await pages.share(gfn)
    must(await pages.page_in((ra, gfn, 1)), "UV_PAGE_IN")


async def _taken_back(pages: Pages, gfn: int) -> None:
    await pages.unshare(gfn)


async def _sent_out(pages: Pages, gfn: int) -> None:
    must(await pages.page_out((await pages.spare(), gfn, 1)), "UV_PAGE_OUT")


async def _guest_sees(pages: Pages, gfn: int, _: int) -> str:
    return word_of(await pages.vm.load(gfn))


async def _host_sees(pages: Pages, _: int, ra: int) -> str:
    return word_of(await pages.vm.host.peek(ra))


async def _is_free(pages: Pages, _: int, ra: int) -> str:
    """Tell whether a page backs nothing: it can then be another GFN's."""
    await pages.withdraw(OTHER)
    free = (await pages.page_in((ra, OTHER, 1))).code == OK
    return "its page backs nothing" if free else "its page still backs it"


MESSAGES: Final = (
    Message(
        "UV_PAGE_IN",
        ("ra", "gpa", "state", MIXED),
        ready=_withdrawn,
        spoil=_taken_back,
        make=lambda pages, rows: pages.page_in(*rows),
        sees=_guest_sees,
        done=Word.OFFER,
    ),
    Message(
        "UV_PAGE_OUT",
        ("ra", "gpa", "state", MIXED),
        ready=_written,
        spoil=_sent_out,
        make=lambda pages, rows: pages.page_out(*rows),
        sees=_host_sees,
        done=Word.SEALED,
    ),
    Message(
        "UV_PAGE_INVAL",
        ("gpa", "state", MIXED),
        ready=_placed,
        spoil=_taken_back,
        make=lambda pages, rows: pages.inval(*((gfn, count) for _, gfn, count in rows)),
        sees=_is_free,
        done="its page backs nothing",
    ),
)


def rows() -> Iterator[Row]:
    """Yield a row a rung that judges each run, and one of a run of mixed states, for each paging call."""
    for message in MESSAGES:
        path = message.call.removeprefix("UV_").lower().replace("_", "-")
        for rung in message.rungs:
            yield Row(
                f"uv/{path}/runs/{rung}",
                Kind.RUNG,
                message.call,
                f"{message.call} refuses a bad run alone, names it, and does the rest",
                ANYWHERE,
                partial(_play, message=message, rung=rung),
            )


async def _play(stage: Stage, message: Message, rung: str) -> Finding:
    codes: Mapping[str, int] = {each.name: int(each.code) for each in CALLS[message.call].check_order}
    code = codes.get(rung, codes["state"])
    async with pages_of_svm(stage) as pages:
        ra = await pages.vm.host.spare(3)
        places = {gfn: ra + place * PAGE_SIZE for place, gfn in enumerate((FIRST, BAD, LAST))}
        for gfn, place in places.items():
            await message.ready(pages, gfn, place)
        if rung in {"state", MIXED}:
            await message.spoil(pages, BAD)
        for place in places.values():
            await pages.vm.host.poke(place, PAGES[Word.OFFER])
        bad = (places[BAD] | (SECURE_BIT if rung == "ra" else 0), NO_SLOT if rung == "gpa" else BAD, 1)
        three = [(places[FIRST], FIRST, 1), bad, (places[LAST], LAST, 1)]
        answer = await message.make(pages, [(ra, FIRST, 3)] if rung == MIXED else three)
        seen = [
            await message.sees(pages, FIRST, places[FIRST]),
            await message.sees(pages, LAST, places[LAST]),
        ]
        return compared(
            {
                "code": UCode(code).name,
                "refused": ((gpa_of(bad[1]), 1, code),),
                "the first": message.done,
                "the last": message.done,
            },
            {"code": answer.code, "refused": answer.refused, "the first": seen[0], "the last": seen[1]},
        )
