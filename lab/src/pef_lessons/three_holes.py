"""A design of your own in one file, with three holes: `pef lesson start 10` copies it for you to fill.

Each hole is one decision about a Hypervisor that keeps two states per GFN, SECURE and NORMAL. The words that
a hole may have stand behind it. Everything else of the design is that of `pushed`.
"""

# ruff: noqa: PLC0415 - a part imports only what its own row is made of
from typing import TYPE_CHECKING, Final

from pef_kit.core.designs import UnknownDesign
from pef_protocol.designs import DesignName

if TYPE_CHECKING:
    from pef_hypervisor.designs import DesignRow
    from pef_lab.known_designs import ObservedDesign
    from pef_ultravisor.designs import DesignSettings

NAME: Final = DesignName("three-holes")

# 1. A NORMAL page when UV_ESM succeeds (H_SVM_INIT_DONE): "keep", "mark secure" or "send".
AT_INIT_DONE: str = ""
# 2. A NORMAL page when UV_ESM fails (H_SVM_INIT_ABORT): "trust the page" or "ask the Ultravisor".
AT_INIT_ABORT: str = ""
# 3. The pages of a slot that is plugged in: "mark after registering" or "mark before registering".
WHEN_PLUGGED: str = ""

HOLES: Final = {
    "AT_INIT_DONE": ("keep", "mark secure", "send"),
    "AT_INIT_ABORT": ("trust the page", "ask the Ultravisor"),
    "WHEN_PLUGGED": ("mark after registering", "mark before registering"),
}


class ThreeHoles:
    """The rows of `three-holes`."""

    @property
    def hypervisor(self) -> "DesignRow":
        """Keep two states; the holes say what becomes of NORMAL pages."""
        from pef_hypervisor.designs import TWO_STATES, DesignRow
        from pef_hypervisor.gfn.table import STAY, GfnAction, GfnEvent, N, S, to
        from pef_protocol.codes import UCode

        _require_filled()
        at_done = {
            "keep": STAY,
            "mark secure": {N: to(S, GfnAction.MARK)},
            "send": {N: to(S, GfnAction.PAGE_IN)},
        }[AT_INIT_DONE]
        cells = {GfnEvent.INIT_DONE: at_done}
        if AT_INIT_ABORT == "ask the Ultravisor":
            cells[GfnEvent.INIT_ABORT] = {N: to(N, GfnAction.RESTORE_STAND_IN)}
        return DesignRow(
            NAME,
            cells,
            TWO_STATES,
            plugged_secure=WHEN_PLUGGED == "mark before registering",
            leaves=frozenset({UCode.U_P2, UCode.U_RETRY}),
        )

    @property
    def ultravisor(self) -> "DesignSettings":
        """Refuse a shared page while H_SVM_INIT_DONE is outstanding, as `pushed`."""
        from pef_ultravisor.designs import DesignSettings
        from pef_ultravisor.gfn.table import Event

        return DesignSettings(NAME, Event.PAGE_IN_PUSHED, needs_spare_page=True)

    @property
    def lab(self) -> "ObservedDesign":
        """Expect two states, and the contents of unmigrated pages where these are sent."""
        from pef_lab.known_designs import ObservedDesign

        return ObservedDesign(NAME, two_states=True, moves_unmigrated=AT_INIT_DONE == "send")


def _require_filled() -> None:
    """Raise UnknownDesign, which names the hole, where one is not filled with one of its words."""
    for hole, words in HOLES.items():
        if globals()[hole] not in words:
            raise UnknownDesign(f"three-holes: fill {hole} with one of: {', '.join(words)}")


THREE_HOLES: Final = ThreeHoles()
