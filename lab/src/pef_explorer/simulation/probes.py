"""What must succeed between two rounds, when no call is open, and at the end of a run.

From a quiescent state every load, store, share, unshare and UV_ESM succeeds, if it is started alone and the
host cooperates.
"""

from typing import Final

from pef_explorer.actions.move import GUESTS
from pef_explorer.actions.names import ActionName
from pef_explorer.simulation.events import SIZE, Start
from pef_explorer.simulation.lone import LoneActions
from pef_explorer.simulation.pages import Page, Whose
from pef_lab.agreement import SHARED_STATES
from pef_protocol.states import UvGfnState as S

FIRST: Final = 1 << 20
"""Number of the first action that is a probe."""
BOUNCE_STATES: Final = (S.SHARED_IMPLICIT, S.SHARED_IMPLICIT_INV, S.PSEUDO_SHARED, S.PSEUDO_SHARED_INV)


def probe_all(run: LoneActions, *, last: bool) -> None:
    """Judge the rest between two rounds; after the `last` one use every page, and destroy every VM."""
    run.judge.judge_rest()
    probes = Probes(run)
    for vm in range(SIZE.vms):
        probes.observe_again(vm)
        if last:
            probes.use_all(vm)
        else:
            probes.use(vm, SIZE.hot)
    if last:
        for vm in range(SIZE.vms):
            probes.start_over(vm)
    run.judge.judge_rest()
    if last:
        for vm in range(SIZE.vms):
            run.must(run.machines.hv.destroy(vm + 1), vm)
        run.judge.judge_nothing_left()


class Probes:
    """Actions of one actor at a time."""

    def __init__(self, run: LoneActions) -> None:
        self._run = run
        self._made = 0

    def observe_again(self, vm: int) -> None:
        """Let the oracle see what it lost sight of: what both sides list the VM and its pages as."""
        known = self._run.oracle.vms[vm]
        life = self._run.machines.life(vm + 1)
        known.life = "" if life == "neither" else life
        svm = self._run.machines.uv.svm(vm + 1)
        for gfn, page in enumerate(known.pages):
            slot = svm.slots.holding(gfn) if svm else None
            if slot is not None and page.whose is Whose.UNKNOWN:
                state = S(int(slot.state[gfn - slot.first]))
                shared = Whose.SHARED if state in SHARED_STATES else Whose.PRIVATE
                page.whose = Whose.BOUNCE if state in BOUNCE_STATES else shared

    def use(self, vm: int, gfns: tuple[int, ...]) -> None:
        """Load pages of a VM that runs, where nothing of the host's stands in the way."""
        for gfn in gfns:
            if self._usable(vm, gfn) is not None:
                self._make(vm, ActionName.LOAD, gfn)

    def use_all(self, vm: int) -> None:
        """Load every page, have the host look at it, and load it again; share one, and take it back."""
        everything = tuple(range(SIZE.pages))
        self.use(vm, everything)
        if self._run.machines.life(vm + 1) != "secure":
            return
        for gfn in everything:
            if self._usable(vm, gfn) is not None:
                self._make(vm, ActionName.HOST_READ, gfn)
        private = [
            gfn for gfn in everything if (page := self._usable(vm, gfn)) and page.whose is Whose.PRIVATE
        ]
        for gfn in private[:1] + private[-1:]:
            for action in (
                ActionName.STORE,
                ActionName.LOAD,
                ActionName.SHARE,
                ActionName.LOAD,
                ActionName.UNSHARE,
                ActionName.LOAD,
            ):
                self._make(vm, action, gfn)
        self.use(vm, everything)
        known = self._run.oracle.vms[vm]
        tainted = frozenset(gfn for gfn, page in enumerate(known.pages) if page.tainted)
        self._run.judge.judge_tables(vm, but=tainted)

    def start_over(self, vm: int) -> None:
        """Make the VM normal, use it, make it secure and use it again."""
        self._make(vm, ActionName.RESET, 0)
        self.observe_again(vm)
        self.use(vm, SIZE.hot)
        self._make(vm, ActionName.ESM, 0)
        self.observe_again(vm)
        self.use(vm, SIZE.hot)
        self._run.judge.judge_tables(vm)

    def _usable(self, vm: int, gfn: int) -> Page | None:
        """Return a page of a VM that runs and may touch it, or None."""
        run = self._run
        page = run.oracle.vms[vm].pages[gfn]
        life = run.machines.life(vm + 1)
        if life == "neither" or run.machines.page_of(vm + 1, gfn) is None:
            return None
        if life == "secure" and (page.tainted or page.whose is Whose.BOUNCE):
            return None
        return page

    def _make(self, vm: int, action: ActionName, gfn: int) -> None:
        self._made += 1
        self._run.alone(Start(FIRST + self._made, 0, 0, vm, GUESTS[0], action, gfn, 1))
