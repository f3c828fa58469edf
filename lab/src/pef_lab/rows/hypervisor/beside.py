"""One run of a message is refused and the others are done: it alone is named.

Source: `pef_protocol.calls.Reply` (runs that are not named were done);
`pef_protocol.check_orders.Rung.per_run`.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Final, TypeAlias

from pef_lab.rows.hypervisor.deeds import BAD
from pef_lab.rows.hypervisor.one_vm import OneVm, found, row_in_vm
from pef_lab.rows.hypervisor.seen import letter_of
from pef_lab.rows.hypervisor.vms import Letter, Life, VmPlan
from pef_lab.rows.playing.ultravisor import refuse_gfns
from pef_lab.rows.row import Finding, Kind, Row
from pef_protocol.codes import HCode, UCode
from pef_protocol.hypercalls import SvmPageIn, SvmPageOut
from pef_protocol.quantities import H_PAGE_IN_SHARED, PAGE_ORDER, Lpid, gpa_of
from pef_protocol.runs import PageRuns

Act: TypeAlias = Callable[[OneVm], Awaitable[Finding]]
N, S, P, H = Letter.N, Letter.S, Letter.P, Letter.H
TRANSIENT: Final = Life.TRANSIENT
IN, OUT = "H_SVM_PAGE_IN", "H_SVM_PAGE_OUT"
THREE: Final = {0: N, 1: N, 5: N, 6: N}
SECURED: Final = {0: S, 1: S, 2: S, 6: S}
MISALIGNED: Final = (gpa_of(2) + 1, 1)
NOWHERE: Final = (gpa_of(20), 1)


def rows() -> Iterator[Row]:
    """Yield a row for each reason for which a run is refused alone."""
    for place, (call, clause, plan, act) in ROWS.items():
        yield row_in_vm(f"hv/{place}", Kind.CODE, call, clause, plan, act)


def _act_beside(flags: int | None, bad: tuple[int, int], letters: tuple[Letter, Letter]) -> Act:
    """Send a run that must be refused between two good ones: it alone is named, and they are done."""

    async def act(scene: OneVm) -> Finding:
        lpid = Lpid(scene.lpid)
        runs = PageRuns.of((gpa_of(0), 1), bad, (gpa_of(6), 1))
        request = (
            SvmPageOut(lpid, runs, 0, PAGE_ORDER)
            if flags is None
            else SvmPageIn(lpid, runs, flags, PAGE_ORDER)
        )
        answer = await scene.outside.hypercall(request)
        seen = [await letter_of(scene.outside, scene.lpid, gfn) for gfn in (0, 6)]
        return found(
            f"{BAD}; {[(*bad, int(HCode.H_PARAMETER))]}; {', '.join(letters)}",
            f"{answer.code}; {list(answer.refused)}; {', '.join(seen)}",
        )

    return act


def _act_one_refused(letters: tuple[Letter, ...]) -> Act:
    async def act(scene: OneVm) -> Finding:
        going_in = letters[0] is S
        name = "UV_PAGE_IN" if going_in else "UV_PAGE_OUT"
        scene.played.answers(name, refuse_gfns(UCode.U_P3, 1), lpid=scene.lpid)
        deed = scene.outside.page_in if going_in else scene.outside.page_out
        answer = await deed(scene.lpid, 0, 1, 2)
        seen = [await letter_of(scene.outside, scene.lpid, gfn) for gfn in range(3)]
        refused = [(gpa_of(1), 1, int(HCode.H_PARAMETER))]
        return found(
            f"{BAD}; {refused}; {', '.join(letters)}",
            f"{answer.code}; {list(answer.refused)}; {', '.join(seen)}",
        )

    return act


ROWS: Final[Mapping[str, tuple[str, str, VmPlan, Act]]] = {
    "page-in/beside/gpa": (
        IN,
        "a run in no slot is refused alone",
        VmPlan(TRANSIENT, gfns=THREE),
        _act_beside(0, NOWHERE, (S, S)),
    ),
    "page-in/beside/gpa:misaligned": (
        IN,
        "a run that is not on a page boundary is refused alone",
        VmPlan(TRANSIENT, gfns=THREE),
        _act_beside(0, MISALIGNED, (S, S)),
    ),
    "page-in/beside/gpa:shared": (
        IN,
        "a run in no slot is refused alone, to be shared as well",
        VmPlan(TRANSIENT, gfns=THREE),
        _act_beside(H_PAGE_IN_SHARED, NOWHERE, (H, H)),
    ),
    "page-in/beside/state": (
        IN,
        "a GFN that the Ultravisor holds is refused alone",
        VmPlan(TRANSIENT, gfns={0: N, 1: S, 6: N}),
        _act_beside(0, (gpa_of(1), 1), (S, S)),
    ),
    "page-in/beside/refused": (
        IN,
        "a GFN that the Ultravisor does not take is refused alone",
        VmPlan(TRANSIENT, gfns={0: N, 1: N, 2: N}),
        _act_one_refused((S, N, S)),
    ),
    "page-out/beside/gpa": (
        OUT,
        "a run in no slot is refused alone",
        VmPlan(TRANSIENT, gfns=SECURED),
        _act_beside(None, NOWHERE, (P, P)),
    ),
    "page-out/beside/refused": (
        OUT,
        "a GFN that the Ultravisor does not give is refused alone",
        VmPlan(TRANSIENT, gfns=SECURED),
        _act_one_refused((P, S, P)),
    ),
}
"""Rows by what follows `hv/`: call, clause, the VM, what is done."""
