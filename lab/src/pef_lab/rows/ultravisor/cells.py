"""The 84 cells of the Ultravisor's table of GFN states: each operation on a GFN in each state, as rows.

Every cell has a VM of its own. Cells of transient states need the Hypervisor to hold its answer, so they
are played where we are the Hypervisor. An operation of the guest on a GFN in a transient state is
answered when the Ultravisor's patience ends: such rows are played beside each other.
"""

from collections.abc import Iterator
from functools import partial
from typing import Final

from pef_lab.rows.doors import Answer
from pef_lab.rows.row import Finding, Kind, Level, Row
from pef_lab.rows.stage import Stage
from pef_lab.rows.subject import Evidence
from pef_lab.rows.ultravisor.gfn import StagedGfn
from pef_lab.rows.ultravisor.scene import ALONE, ANYWHERE
from pef_lab.rows.ultravisor.seen import PAGES, Word, compared, word_of
from pef_lab.rows.ultravisor.table import CELLS, ENDS, GUESTS, TRANSIENT, Operation
from pef_lab.rows.ultravisor.vm import Workshop
from pef_protocol.codes import HCode, UCode
from pef_protocol.quantities import Gfn
from pef_protocol.states import UvGfnState as S
from pef_protocol.ultracalls import SharePage, UnshareAllPages, UnsharePage

NAMES_A_PAGE: Final = frozenset({Operation.PAGE_IN, Operation.PAGE_OUT})
"""Operations that name a normal page themselves."""
MAPPED: Final = frozenset({S.SHARED, S.SHARED_IMPLICIT, S.PSEUDO_SHARED})
"""States of which UV_PAGE_IN names the normal page behind the GFN."""
OPEN_ENDED: Final = S.HV_UNSHARED
"""A state that an Ultravisor need not let anybody see: the grant and the end of the call may be one step."""


def rows() -> Iterator[Row]:
    """Yield a row a cell."""
    for operation, by_state in CELLS.items():
        for state, cell in by_state.items():
            yield Row(
                f"gfn/{state.name}/{operation.name.lower().replace('_', '-')}",
                Kind.CELL,
                operation.value,
                f"{operation.value} of a GFN in {state.name}: {cell.code.name}, then {cell.then.name}",
                ALONE if state in TRANSIENT else ANYWHERE,
                partial(play, operation=operation, state=state),
                Level.EITHER if state is OPEN_ENDED else Level.MUST,
                state in TRANSIENT and operation in GUESTS,
            )


async def play(stage: Stage, operation: Operation, state: S) -> Finding:
    """Bring a GFN into a state, perform an operation on it, and see what became of it."""
    staged = await StagedGfn.put(stage, state)
    try:
        return await _perform(stage, staged, operation, state)
    finally:
        await staged.vm.end()


async def _perform(stage: Stage, staged: StagedGfn, operation: Operation, state: S) -> Finding:
    cell = CELLS[operation][state]
    aim = await _aim(staged, operation, state)
    refused = cell.code is not UCode.U_SUCCESS
    watched = refused and stage.ultravisor.can_be_observed and not _is_patient(operation, state)
    workshop = await stage.scene(Workshop)
    before = await stage.look(workshop) if watched else None
    answer = await _make(staged, operation, aim)
    unchanged = None if before is None else await stage.look(workshop) == before
    then = await staged.vm.state_of(staged.gfn)
    ended = await staged.close_call()
    end = ENDS.get(cell.then, cell.then)
    page = await staged.host_sees(aim if operation in NAMES_A_PAGE else staged.backing)
    if operation is Operation.PAGE_OUT and end is S.PAGEDOUT and state is not S.PAGEDOUT:
        staged.sealed = aim
    mapped = operation is Operation.PAGE_IN and end in MAPPED
    inferred = "" if then else await _inferred(staged)
    return compared(
        {
            "code": cell.code.name,
            "state": cell.then.name,
            "kind": _kind(end),
            "guest reads": cell.guest,
            "normal page": cell.page,
            "open call": UCode.U_SUCCESS.name,
            "nothing else": True,
            "unchanged": True,
            "it backs the GFN": True,
        },
        {
            "code": answer.code,
            "state": then or None,
            "kind": inferred or None,
            "guest reads": await staged.guest_sees(end),
            "normal page": page if cell.page is not Word.NOTHING else None,
            "open call": ended,
            "nothing else": await staged.is_alone(),
            "unchanged": unchanged,
            "it backs the GFN": await staged.is_backed_by(aim) if mapped else None,
        },
        None if unchanged is None else Evidence.DIGEST,
    )


def _is_patient(operation: Operation, state: S) -> bool:
    return state in TRANSIENT and operation in GUESTS


async def _aim(staged: StagedGfn, operation: Operation, state: S) -> int:
    """Return the normal page that the operation names, with something in it."""
    if operation not in NAMES_A_PAGE:
        return 0
    if operation is Operation.PAGE_IN and state is S.PAGEDOUT:
        return staged.sealed
    if operation is Operation.PAGE_IN and state is S.HV_SHARING and staged.held is not None:
        staged.held.instead = HCode.H_SUCCESS  # the Hypervisor offers its page by this very operation
    aim = await staged.vm.host.spare()
    await staged.vm.host.poke(aim, PAGES[Word.OFFER])
    return aim


async def _make(staged: StagedGfn, operation: Operation, aim: int) -> Answer:
    match operation:
        case Operation.PAGE_IN:
            return await staged.ask(staged.page_in(aim))
        case Operation.PAGE_OUT:
            return await staged.ask(staged.page_out(aim))
        case Operation.PAGE_INVAL:
            return await staged.ask(staged.inval())
        case Operation.SHARE:
            return await staged.vm.call(SharePage(Gfn(staged.gfn), 1))
        case Operation.UNSHARE:
            return await staged.vm.call(UnsharePage(Gfn(staged.gfn), 1))
        case Operation.UNSHARE_ALL:
            return await staged.vm.call(UnshareAllPages())


def _kind(state: S) -> str:
    """Return what a page-out tells of a state."""
    return state.name if state in {S.SECURE, S.PAGEDOUT} else "shared"


async def _inferred(staged: StagedGfn) -> str:
    """Return what a page-out tells of the state of a GFN; it is brought back if it went out by that."""
    ra = await staged.vm.host.spare()
    await staged.vm.host.poke(ra, PAGES[Word.OFFER])
    code = (await staged.ask(staged.page_out(ra))).code
    if code == UCode.U_PARAMETER.name:
        return S.PAGEDOUT.name
    if code != UCode.U_SUCCESS.name:
        return code
    if word_of(await staged.vm.host.peek(ra)) is Word.OFFER:
        return "shared"
    await staged.ask(staged.page_in(ra))
    return S.SECURE.name
