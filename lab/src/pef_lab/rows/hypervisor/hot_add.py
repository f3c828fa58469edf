"""A slot that is plugged into a started VM, and asked about while its UV_REGISTER_MEM_SLOT is outstanding.

What was asked for by then is no left-over: it stays as it became, and the rest is secured.

Source: designs, `tracked`: the remaining normal GFNs become secure when a slot is plugged in; specification
of the Hypervisor, section 4, "slot added".
"""

from collections.abc import Iterator
from functools import partial
from typing import Final

from pef_lab.rows.hypervisor.one_vm import OneVm, found, row_in_vm
from pef_lab.rows.hypervisor.outside import Outside
from pef_lab.rows.hypervisor.seen import letter_of, pool_used
from pef_lab.rows.hypervisor.vms import Letter, Life, VmPlan
from pef_lab.rows.playing.ultravisor import Heard, PlayedUltravisor, honestly
from pef_lab.rows.row import Finding, Kind, Row
from pef_protocol.calls import Reply

NEW: Final = (17, 64, 4)
"""A slot to be plugged in: its id, its first GFN, its pages."""
BECOMES: Final = (Letter.S, Letter.H, Letter.P, Letter.S)
"""What its pages are then: brought in, shared, brought in and out again, and nobody asked."""
ASKED: Final = "H_SUCCESS"


def rows() -> Iterator[Row]:
    """Yield the rows of slots that are asked about while they are plugged in."""
    for life in (Life.TRANSIENT, Life.SECURE):
        yield row_in_vm(
            f"flow/hot-add:asked-meanwhile-{life}",
            Kind.SUCCESS,
            "VMM",
            "what was asked for while a slot is plugged in stays as it became, the rest is secured",
            VmPlan(life),
            _play,
        )


async def _play(scene: OneVm) -> Finding:
    outside, lpid, (_, first, pages) = scene.outside, scene.lpid, NEW
    told: list[str] = []
    scene.played.answers("UV_REGISTER_MEM_SLOT", partial(_asking, outside, told), lpid=lpid)
    before = await pool_used(outside)
    outcome = await outside.plug(lpid, *NEW)
    letters = [await letter_of(outside, lpid, gfn) for gfn in range(first, first + pages)]
    after = await pool_used(outside)
    taken = BECOMES.count(Letter.S) if before is None or after is None else after - before
    return found(
        f"OK; {', '.join([ASKED] * 4)}; {', '.join(BECOMES)}; {BECOMES.count(Letter.S)} device pages",
        f"{outcome}; {', '.join(told)}; {', '.join(letters)}; {taken} device pages",
    )


async def _asking(outside: Outside, told: list[str], played: PlayedUltravisor, heard: Heard) -> Reply | None:
    """Register a slot, and ask for three of its pages before that is answered."""
    reply = await honestly(played, heard)
    _, first, _ = NEW
    for ask, gfn in (
        (outside.page_in, first),
        (outside.share, first + 1),
        (outside.page_in, first + 2),
        (outside.page_out, first + 2),
    ):
        told.append((await ask(heard.lpid, gfn)).code)
    return reply
