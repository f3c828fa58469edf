"""An action of an actor in a search: where it is possible, and what the pages may hold afterwards."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from pef_explorer.actions.move import VM
from pef_explorer.actions.operations import PERFORMED, Asked, Extent
from pef_explorer.actions.oracle import Oracle
from pef_explorer.machines.small_memory import TOKEN_BYTES
from pef_explorer.machines.system import LPID, System
from pef_explorer.plan import Extra, Plan, Troubles
from pef_kit.core.effects import Operation
from pef_protocol.states import UvGfnState as S

PRIVATE: Final = (S.SECURE, S.PAGEDOUT)


class Kept(NamedTuple):
    """An encrypted page that the host has kept: of which GFN, its bytes, and what the page might hold."""

    gfn: int
    page: bytes
    held: frozenset[bytes]


class Target(Protocol):
    """What an action needs of the world in which it is made."""

    system: System
    oracle: Oracle
    troubles: Troubles
    kept: Kept | None

    def token(self, kind: bytes, gfn: int) -> bytes:
        """Return a token that is nowhere yet."""

    def at_uv(self, gfn: int) -> S | None:
        """Return the state of a GFN in the Ultravisor, or None."""

    def shares(self, gfn: int) -> bool:
        """Tell whether the guest is sharing a GFN at this moment."""

    def is_shared_meanwhile(self, gfn: int) -> None:
        """Note that the guest shares a GFN to which its open stores may go."""


MayBe = Callable[[Target, int], bool]
Write = Callable[[Target, range], bytes]
End = Callable[[Target, int, frozenset[bytes], str], None]


def writes_nothing(_: Target, __: range) -> bytes:
    """Write nothing that the guest may find."""
    return b""


def nothing(_: Target, __: int, ___: frozenset[bytes], ____: str) -> None:
    """Leave the oracle as it is."""


@dataclass(frozen=True, slots=True)
class Action:
    """A row of the table: how the oracle sees an action that `PERFORMED` has.

    `write` notes that it begins, and returns the bytes that it may leave in the GFNs that it names; `end`
    gets the values that the page may hold by now, of this call and of those that were open meanwhile, and how
    the call ended. It names `pages` GFNs, and reads `length` bytes. `extra`: where it is switched on by that
    alone.
    """

    name: str
    may_be: MayBe
    write: Write = writes_nothing
    end: End = nothing
    pages: int = 1
    length: int = TOKEN_BYTES
    extra: Extra | None = None

    def begin(self, world: Target, gfn: int) -> tuple[Operation[Any], bytes]:
        """Return its operation, and the value that it may write, or nothing."""
        content = self.write(world, self.gfns(gfn))
        asked = Asked(LPID, gfn, self.pages, content, self.length, world.oracle.secure)
        return PERFORMED[self.name].operation(world.system, asked), content[:TOKEN_BYTES]

    @property
    def whole(self) -> bool:
        """Tell whether it is done to the VM, not to a GFN."""
        return PERFORMED[self.name].extent is Extent.VM

    @property
    def plug(self) -> bool:
        """Tell whether it is done to slot 1."""
        return PERFORMED[self.name].extent is Extent.SLOT

    def footprint(self, plan: Plan, gfn: int) -> frozenset[int]:
        """Return the GFNs that it reads or changes."""
        if self.plug:
            return frozenset({VM, *plan.plugged})
        return frozenset({VM, *range(plan.pages)}) if self.whole else frozenset(self.gfns(gfn))

    def gfns(self, gfn: int) -> range:
        """Return the GFNs that it names, from the first one on."""
        return range(gfn, gfn + self.pages)


def has_vm(world: Target, _: int) -> bool:
    """Allow it where there is a VM."""
    return world.system.vm is not None


def is_there(world: Target, gfn: int) -> bool:
    """Allow it where the GFN has a slot."""
    return world.system.normal_page(gfn) is not None


def is_secure(world: Target, _: int) -> bool:
    """Allow it in a secure VM."""
    return world.oracle.secure


def runs_secure(world: Target, gfn: int) -> bool:
    """Allow it in a secure VM whose GFN has a slot."""
    return world.oracle.secure and is_there(world, gfn)


def two_run_secure(world: Target, gfn: int) -> bool:
    """Allow it in a secure VM where this GFN and the next one have a slot."""
    return runs_secure(world, gfn) and is_there(world, gfn + 1)


def may_be_kept(world: Target, gfn: int) -> bool:
    """Allow it where the page is private, and what goes out of it is genuine."""
    return is_there(world, gfn) and world.at_uv(gfn) in PRIVATE and not world.oracle.tainted[gfn]


def is_no_longer_newest(world: Target, gfn: int) -> bool:
    """Allow it where the host's write falls on an encrypted page, and what was kept holds something else."""
    state, kept = world.at_uv(gfn), world.kept
    if kept is None or not (state is S.PAGEDOUT or (state is S.SECURE and world.oracle.secure)):
        return False
    newest = state is S.PAGEDOUT and (kept.gfn, kept.page) == (gfn, world.oracle.sealed[gfn][1])
    return is_there(world, gfn) and not newest and kept.held != world.oracle.may[gfn]


def plugged(world: Target, _: int) -> bool:
    """Allow it where slot 1 is there."""
    return world.system.vm is not None and world.system.vm.slots.get(1) is not None


def unplugged(world: Target, gfn: int) -> bool:
    """Allow it in a VM without slot 1."""
    return has_vm(world, gfn) and not plugged(world, gfn)


def may_end(world: Target, gfn: int) -> bool:
    """Allow it where another VM may have the lpid."""
    return has_vm(world, gfn) and world.troubles.destroys > 0


def has_no_vm(world: Target, _: int) -> bool:
    """Allow it where there is no VM."""
    return world.system.vm is None
