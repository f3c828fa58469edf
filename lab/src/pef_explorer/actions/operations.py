"""How each action is performed on a pair of machines: one row an action, for search and simulation alike.

UV_ESM has no row: a search begins each of its phases by a move, and a simulation lets them follow each other.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple, Protocol

from pef_explorer.actions.names import ActionName, ExtraActionName
from pef_explorer.machines.planned import PlannedPair
from pef_explorer.machines.small_memory import TOKEN_BYTES
from pef_hypervisor.dispatch import Hypervisor
from pef_kit.core.effects import Operation
from pef_protocol.events import Side
from pef_protocol.http import Caller, Role
from pef_protocol.quantities import PAGE_SIZE, Gfn, Gpa, Lpid, gpa_of
from pef_protocol.ultracalls import SharePage, UnshareAllPages, UnsharePage
from pef_ultravisor.dispatch import guest_load, guest_store, ultracall
from pef_ultravisor.state import Ultravisor


class BothSides(Protocol):
    """Two machines of one process."""

    uv: Ultravisor
    hv: Hypervisor


class Asked(NamedTuple):
    """What an actor asks for: of which VM, from which GFN on, with which bytes, or how many of them.

    `secure`: the guest runs under the Ultravisor.
    """

    lpid: Lpid
    gfn: int
    pages: int = 1
    content: bytes = b""
    length: int = TOKEN_BYTES
    secure: bool = False

    @property
    def gpa(self) -> Gpa:
        """Return the address of its first byte."""
        return gpa_of(self.gfn)


class Extent(StrEnum):
    """To what an action is done."""

    GFNS = "the GFNs that it names"
    SLOT = "slot 1"
    VM = "the whole VM"


@dataclass(frozen=True, slots=True)
class Performed:
    """How an action is performed. `side`: by whom; None: by the side under which the guest runs."""

    operation: Callable[[PlannedPair, Asked], Operation[Any]]
    side: Side | None
    extent: Extent = Extent.GFNS

    def side_for(self, *, secure: bool) -> Side:
        """Return the side that performs it; `secure`: the guest runs under the Ultravisor."""
        return self.side or (Side.ULTRAVISOR if secure else Side.HYPERVISOR)


def load(machines: BothSides, asked: Asked) -> Operation[Any]:
    """Load bytes as the guest."""
    if asked.secure:
        return guest_load(machines.uv, asked.lpid, asked.gpa, asked.length)
    return machines.hv.load(asked.lpid, asked.gpa, asked.length)


def store(machines: BothSides, asked: Asked) -> Operation[Any]:
    """Store bytes as the guest."""
    if asked.secure:
        return guest_store(machines.uv, asked.lpid, asked.gpa, asked.content)
    return machines.hv.store_bytes(asked.lpid, asked.gpa, asked.content)


def share(machines: BothSides, asked: Asked) -> Operation[Any]:
    """Make UV_SHARE_PAGE."""
    request = SharePage(Gfn(asked.gfn), asked.pages)
    return ultracall(machines.uv, Caller(Role.GUEST, asked.lpid), "UV_SHARE_PAGE", request)


def unshare(machines: BothSides, asked: Asked) -> Operation[Any]:
    """Make UV_UNSHARE_PAGE."""
    request = UnsharePage(Gfn(asked.gfn), asked.pages)
    return ultracall(machines.uv, Caller(Role.GUEST, asked.lpid), "UV_UNSHARE_PAGE", request)


def unshare_all(machines: BothSides, asked: Asked) -> Operation[Any]:
    """Make UV_UNSHARE_ALL_PAGES."""
    caller = Caller(Role.GUEST, asked.lpid)
    return ultracall(machines.uv, caller, "UV_UNSHARE_ALL_PAGES", UnshareAllPages())


def host_read(machines: BothSides, asked: Asked) -> Operation[Any]:
    """Read bytes for the VMM, to the last page that is named; the Ultravisor pages out what is secure."""
    length = (asked.pages - 1) * PAGE_SIZE + asked.length
    return machines.hv.host_read(asked.lpid, asked.gpa, length)


def host_write(machines: BothSides, asked: Asked) -> Operation[Any]:
    """Write bytes for the VMM."""
    return machines.hv.host_write(asked.lpid, asked.gpa, asked.content)


def unmap(machines: BothSides, asked: Asked) -> Operation[Any]:
    """Take pages away from the guest."""
    return machines.hv.unmap(asked.lpid, asked.gpa, asked.pages)


def plug(machines: PlannedPair, asked: Asked) -> Operation[Any]:
    """Add slot 1."""
    gfns = machines.plan.plugged
    return machines.hv.add_slot(asked.lpid, 1, gpa_of(gfns.start), len(gfns) * PAGE_SIZE)


UV, HV = Side.ULTRAVISOR, Side.HYPERVISOR
RESET: Final = Performed(lambda machines, asked: machines.hv.reset(asked.lpid), HV, Extent.VM)
PERFORMED: Final[dict[str, Performed]] = {
    ActionName.LOAD: Performed(load, None),
    ActionName.STORE: Performed(store, None),
    ActionName.SHARE: Performed(share, UV),
    ActionName.UNSHARE: Performed(unshare, UV),
    ExtraActionName.SHARE_TWO: Performed(share, UV),
    ExtraActionName.UNSHARE_TWO: Performed(unshare, UV),
    ActionName.UNSHARE_ALL: Performed(unshare_all, UV, Extent.VM),
    ActionName.REBOOT: RESET,
    ActionName.HOST_READ: Performed(host_read, HV),
    ActionName.HOST_WRITE: Performed(host_write, HV),
    ExtraActionName.KEEP: Performed(host_read, HV),
    ExtraActionName.WRITE_KEPT: Performed(host_write, HV),
    ActionName.HOT_ADD: Performed(plug, HV, Extent.SLOT),
    ActionName.HOT_REMOVE: Performed(
        lambda machines, asked: machines.hv.remove_slot(asked.lpid, 1), HV, Extent.SLOT
    ),
    ActionName.RESET: RESET,
    ActionName.CREATE: Performed(lambda machines, _: machines.make_vm(), HV, Extent.VM),
    ActionName.REPLACE: Performed(lambda machines, asked: machines.replace_vm(asked.lpid), HV, Extent.VM),
    ActionName.PAGE_OUT: Performed(host_read, HV),
    ActionName.UNMAP: Performed(unmap, HV),
}
