"""An action of an actor: where it is possible, what it does, and what the pages may hold afterwards."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from pef_explorer.actions.move import VM
from pef_explorer.actions.oracle import Oracle
from pef_explorer.machines.system import System
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


Begin = Callable[[Target, int], tuple[Operation[Any], bytes]]
End = Callable[[Target, int, frozenset[bytes], str], None]


@dataclass(frozen=True, slots=True)
class Action:
    """A row of the table.

    `begin` returns the operation and the value that it may write, or nothing; `end` gets the values that
    the page may hold by now, of this call and of those that were open meanwhile, and how the call ended.
    `whole`: it is done to the VM, not to a GFN; `plug`: to slot 1; else to `pages` GFNs. `extra`: where it is
    switched on by that alone.
    """

    name: str
    begin: Begin
    end: End
    may_be: Callable[[Target, int], bool]
    whole: bool = False
    plug: bool = False
    pages: int = 1
    extra: Extra | None = None

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


def nothing(_: Target, __: int, ___: frozenset[bytes], ____: str) -> None:
    """Leave the oracle as it is."""
