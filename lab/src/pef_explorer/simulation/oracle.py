"""What each page may hold, judged from what the actors did alone: neither machine is asked.

Actions overlap, and messages get lost, so a page has a *set* of values that a load may find, and a share that
is under way leaves it open whose the page is. An action that nobody disturbed settles both.
"""

from collections.abc import Iterator
from typing import Final

from pef_explorer.actions.names import ActionName
from pef_explorer.actions.operations import PERFORMED, Extent
from pef_explorer.plan import Part
from pef_explorer.simulation.events import SIZE, Start, page_of_token
from pef_explorer.simulation.pages import ZERO, Page, Stamp, Vm, Watch, Whose
from pef_lab.known_designs import known_designs
from pef_protocol.designs import DesignName

WRITES: Final = frozenset({ActionName.STORE, ActionName.HOST_WRITE})
READS: Final = frozenset({ActionName.LOAD, ActionName.HOST_READ})
TAKES_AWAY: Final = frozenset({ActionName.PAGE_OUT, ActionName.UNMAP})
"""What changes no byte that the guest may find."""


class SimulationOracle:
    """All VMs. `issued` are all tokens, `secrets` those that a guest wrote to a page of its own."""

    def __init__(self, design: DesignName) -> None:
        self.vms = [Vm() for _ in range(SIZE.vms)]
        self.issued: set[int] = set()
        self._guests: set[int] = set()
        self.secrets: set[int] = set()
        self.buried: set[int] = set()
        """Those that were written to a VM that is no more."""
        self._left_alone = not known_designs()[design].moves_unmigrated

    def wrote(self, token: int) -> bool:
        """Tell whether a guest has written the token."""
        return token in self._guests

    def died(self, vm: int, *, whole: bool) -> None:
        """Note that a side has died: the VM is gone with it if it is `whole`, or its SVM is."""
        known = self.vms[vm]
        if whole:
            self.bury(vm)
            known.is_new()
            return
        known.epoch += 1
        known.life = ""
        for page in known.pages:
            page.require_role(ZERO, *page.pending)
            page.values -= self.secrets
            page.whose = Whose.UNKNOWN

    def bury(self, vm: int) -> None:
        """Note that nothing of what was written to a VM so far may be found again."""
        self.buried |= {token for token in self.issued if page_of_token(token)[0] == vm}

    def begin(self, start: Start, token: int) -> Watch:
        """Note that an action begins."""
        vm = self.vms[start.vm]
        pages = vm.pages[start.gfn : start.gfn + start.pages]
        if start.action in WRITES:
            self.issued.add(token)
        if start.action is ActionName.STORE:
            self._guests.add(token)
        if start.action in READS:
            found = set(pages[0].values)
            pages[0].loads.append(found)
            return Watch(start, token, [vm.stamp(pages[0])], vm.life, found=found)
        if start.action in TAKES_AWAY:
            return Watch(start, token, [], vm.life)
        performed = PERFORMED.get(start.action)
        if performed is None or performed.extent is Extent.VM:
            return self._begin_whole(vm, start, token)
        if performed.extent is Extent.SLOT:
            pages = vm.pages[SIZE.gfns :]
        watch = Watch(start, token, list(self._changing(vm, pages)), vm.life)
        for stamp in watch.stamps:
            self._open(vm, stamp, start.action, token)
        return watch

    @staticmethod
    def _changing(vm: Vm, pages: list[Page]) -> Iterator[Stamp]:
        for page in pages:
            page.epoch += 1
            page.require_role(*page.pending)
            yield vm.stamp(page)
            page.changers += 1

    @staticmethod
    def _open(vm: Vm, stamp: Stamp, action: ActionName, token: int) -> None:
        page = stamp.page
        if action is ActionName.STORE:
            page.require_role(token)
        elif action is ActionName.HOST_WRITE:
            if vm.life == "secure" and stamp.alone and stamp.whose is Whose.PRIVATE:
                page.pending.add(token)
            else:
                page.require_role(token)
            page.tainted |= vm.life != "normal" and not (stamp.alone and stamp.whose is Whose.SHARED)
        else:
            page.require_role(ZERO)
            page.whose = Whose.UNKNOWN

    @staticmethod
    def _begin_whole(vm: Vm, start: Start, token: int) -> Watch:
        nothing = vm.life == ("secure" if start.action in {ActionName.ESM, ActionName.BAD_ESM} else "normal")
        if nothing and not vm.changers and start.action is not ActionName.REPLACE:
            return Watch(start, token, [], vm.life)
        vm.epoch += 1
        watch = Watch(start, token, [vm.stamp(page) for page in vm.pages], vm.life, whole=True)
        vm.changers += 1
        for page in vm.pages:
            page.require_role(*page.pending)
            if start.action is not ActionName.UNSHARE_ALL or page.whose not in {Whose.PRIVATE, Whose.BOUNCE}:
                page.require_role(ZERO)
                page.whose = Whose.UNKNOWN
        if start.action is not ActionName.UNSHARE_ALL:
            vm.life = ""
        return watch

    def end(self, watch: Watch, *, succeeded: bool, life: str) -> None:
        """Note how an action ended; `life` is how both sides list the VM."""
        vm, action = self.vms[watch.start.vm], watch.start.action
        if watch.found is not None:
            loads = watch.stamps[0].page.loads
            del loads[next(place for place, each in enumerate(loads) if each is watch.found)]
            return
        if watch.whole:
            vm.changers -= 1
            if action is ActionName.REPLACE and succeeded:
                self.bury(watch.start.vm)
                vm.is_new()
            vm.sees(life)
        else:
            for stamp in watch.stamps:
                stamp.page.changers -= 1
                stamp.page.pending.discard(watch.token)
        for gfn, stamp in enumerate(watch.stamps):
            if vm.undisturbed(stamp):
                self._settle(vm, watch, stamp, gfn, succeeded=succeeded)

    def _settle(self, vm: Vm, watch: Watch, stamp: Stamp, gfn: int, *, succeeded: bool) -> None:
        page, action = stamp.page, watch.start.action
        match action:
            case ActionName.STORE if succeeded:
                page.settle({watch.token})
                if vm.life == "secure" == watch.life and stamp.whose is Whose.PRIVATE:
                    self.secrets.add(watch.token)
            case ActionName.HOST_WRITE if succeeded and (vm.life == "normal" or stamp.whose is Whose.SHARED):
                page.settle({watch.token})
            case ActionName.SHARE | ActionName.UNSHARE:
                part = part_of(watch.start.gfn + gfn)
                self._settle_owner(vm, action, stamp, part, succeeded=succeeded)
            case ActionName.UNSHARE_ALL if succeeded and stamp.whose is Whose.SHARED:
                page.settle({ZERO})
                page.whose = Whose.PRIVATE
            case ActionName.ESM | ActionName.BAD_ESM:
                self._settle_entry(vm, watch, stamp, gfn)
            case ActionName.RESET | ActionName.REBOOT if vm.life == "normal":
                page.tainted = False
                if stamp.whose is Whose.PRIVATE and watch.life == "secure":
                    page.settle({ZERO})
            case ActionName.RESET | ActionName.REBOOT if vm.life == "secure" == watch.life:
                page.whose = stamp.whose
            case ActionName.HOT_ADD if succeeded:
                page.settle({ZERO})
                page.whose = Whose.PRIVATE
                page.tainted = False
            case ActionName.HOT_ADD:
                page.whose = stamp.whose
            case ActionName.HOT_REMOVE if succeeded:
                page.tainted = False

    @staticmethod
    def _settle_owner(vm: Vm, action: ActionName, stamp: Stamp, part: Part, *, succeeded: bool) -> None:
        page = stamp.page
        if vm.life == "" or (part is Part.SHARED and stamp.whose is Whose.UNKNOWN):
            return
        if vm.life == "normal" or stamp.whose is Whose.BOUNCE:
            page.whose = stamp.whose
            page.settle(stamp.values)
        elif succeeded:
            page.settle({ZERO})
            page.whose = Whose.SHARED if action is ActionName.SHARE else Whose.PRIVATE
        elif action is ActionName.SHARE and stamp.whose is Whose.PRIVATE:
            page.settle(stamp.values)
            page.whose = Whose.PRIVATE

    def _settle_entry(self, vm: Vm, watch: Watch, stamp: Stamp, gfn: int) -> None:
        page = stamp.page
        part = part_of(gfn)
        if watch.life != "normal" or vm.life == "":
            page.whose = Whose.UNKNOWN
        elif vm.life == "normal":
            if part is Part.BROUGHT:
                page.settle(stamp.values)
        elif part is Part.SHARED:
            page.settle({ZERO})
            page.whose = Whose.BOUNCE
        else:
            if part is Part.BROUGHT:
                page.settle(stamp.values)
            elif self._left_alone:
                page.settle({ZERO})
            page.whose = Whose.PRIVATE


def part_of(gfn: int) -> Part:
    """Return the part that a GFN plays in UV_ESM; hot-plugged pages are unmigrated."""
    return SIZE.image[gfn] if gfn < SIZE.gfns else Part.UNMIGRATED
