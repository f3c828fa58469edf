"""The joint invariants of a VM at rest: what both sides show of it while no call on it is open.

Whoever can see both sides judges by these: the search, the simulation, the interleavings, the scenarios and
the replays. Each makes the observation in its own way.

Source: attacks, invariants 6 and 10; the life-cycle table of VMs.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pef_lab.agreement import TRANSIENT_STATES, agreeing_names
from pef_protocol.designs import DesignName
from pef_protocol.states import HvGfnState, HvVmState, UvGfnState, UvVmState

TRANSIENT: Final = frozenset(state.name for state in TRANSIENT_STATES)
HV_STATES: Final = frozenset(HvGfnState.__members__)
UV_STATES: Final = frozenset(UvGfnState.__members__)
SVM_STATES: Final = frozenset(UvVmState.__members__)


@dataclass(frozen=True, slots=True)
class VmAtRest:
    """What both sides show of a VM: its state, and (Hypervisor's, Ultravisor's) of each GFN, all as words.

    Where a side has no such thing, the word is the observer's. `in_flight`: GFNs so marked by either side.
    """

    hypervisor: str
    ultravisor: str
    tables: Mapping[int, tuple[str, str]]
    design: DesignName
    in_flight: Collection[int] = ()

    @property
    def is_secure(self) -> bool:
        """Tell whether both sides call the VM secure."""
        return (self.hypervisor, self.ultravisor) == (HvVmState.SECURE.name, UvVmState.SECURE.name)

    @property
    def is_aborted(self) -> bool:
        """Tell whether the Ultravisor will not run the VM any more."""
        return self.ultravisor == UvVmState.ABORT.name


def disagreements(seen: VmAtRest) -> Iterator[str]:
    """Yield each GFN of which the sides say what does not agree; without an SVM object only NORMAL does."""
    agreeing = agreeing_names(seen.design)
    with_none = set() if seen.ultravisor in SVM_STATES else {HvGfnState.NORMAL.name}
    for gfn, (own, other) in seen.tables.items():
        agree = (own, other) in agreeing
        if other not in UV_STATES:
            agree = own in with_none or own not in HV_STATES
        if not agree:
            yield f"GFN {gfn} is {own} to the Hypervisor, {other} to the Ultravisor"


def the_tables_agree(seen: VmAtRest) -> Iterator[str]:
    """6. S with resident, P with paged out, H with a shared state, in a secure VM."""
    if seen.is_secure:
        yield from disagreements(seen)


def the_vm_lives_by_its_table(seen: VmAtRest) -> Iterator[str]:
    """11. A VM is secure to both sides or to neither, unless its SVM is aborted."""
    secure = HvVmState.SECURE.name, UvVmState.SECURE.name
    one_is = seen.hypervisor == secure[0] or seen.ultravisor == secure[1]
    if one_is and not (seen.is_secure or seen.is_aborted):
        yield f"the VM is {seen.hypervisor} to the Hypervisor, {seen.ultravisor} to the Ultravisor"


def no_gfn_stays_in_between(seen: VmAtRest) -> Iterator[str]:
    """10. No GFN is transient or in flight."""
    for gfn, (_, state) in seen.tables.items():
        if state in TRANSIENT:
            yield f"GFN {gfn} is {state} while no call is open"
        if gfn in seen.in_flight:
            yield f"GFN {gfn} is marked in flight while no call is open"


AT_REST: Final[tuple[Callable[[VmAtRest], Iterator[str]], ...]] = (
    the_tables_agree,
    the_vm_lives_by_its_table,
    no_gfn_stays_in_between,
)
