"""`eager-visible`: the design `eager`, in which H_SVM_PAGE_IN reaches a plugged slot at once.

Each property is read by one part of the system, which imports what its own row is made of and nothing else:
the Hypervisor's process never imports the Ultravisor.
"""

# ruff: noqa: PLC0415 - a part imports only what its own row is made of
from typing import TYPE_CHECKING, Final

from pef_protocol.designs import DesignName

if TYPE_CHECKING:
    from pef_hypervisor.designs import DesignRow
    from pef_lab.known_designs import ObservedDesign
    from pef_ultravisor.designs import DesignSettings

NAME: Final = DesignName("eager-visible")


class EagerVisible:
    """The rows of `eager-visible`."""

    @property
    def hypervisor(self) -> "DesignRow":
        """Keep two states, and do nothing with unmigrated pages: the Ultravisor asks for every GFN."""
        from pef_hypervisor.designs import TWO_STATES, DesignRow
        from pef_hypervisor.gfn.table import STAY, GfnEvent

        return DesignRow(
            NAME,
            cells={GfnEvent.INIT_DONE: STAY, GfnEvent.PLUG: STAY},
            states=TWO_STATES,
            plugged_visible=True,  # `eager` has False: the one setting that differs
        )

    @property
    def ultravisor(self) -> "DesignSettings":
        """Ask for every GFN, in UV_ESM and when a slot is plugged."""
        from pef_ultravisor.designs import DesignSettings

        return DesignSettings(NAME, asks_for_every_gfn=True, asks_for_plugged=True)

    @property
    def lab(self) -> "ObservedDesign":
        """Expect two states in the Hypervisor's table, and the contents of every page in the SVM."""
        from pef_lab.known_designs import ObservedDesign

        return ObservedDesign(NAME, two_states=True, moves_unmigrated=True)


EAGER_VISIBLE: Final = EagerVisible()
