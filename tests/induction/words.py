"""The words in which the Hypervisor speaks of a GFN: two states have fewer, and marks beside them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from induction.design import Tables
from induction.rule import Allowed
from induction.variables import EXCLUSIVE, NO, NONE, YES, others
from pef_protocol.states import HvGfnState

RUNS: Final = ("ACTIVE", "SECURE")
ABORTS: Final = ("ABORT_SENT", "ABORT_RUNS", "ABORT_REFUSED")
BEFORE_DONE: Final = (
    "START_RUNS",
    "START_OK",
    "START_REFUSED",
    "PHASES",
    "DONE_SENT",
    "DONE_RUNS",
    "DONE_REFUSED",
)
"""UV_ESM has begun, and H_SVM_INIT_DONE has not treated the GFN."""


@dataclass(frozen=True, slots=True)
class Words:
    """What the Hypervisor says of a GFN that is paged out, shared, or private: two states have one word less.

    `private`: it is secure; or unmigrated, in a UV_ESM that goes on, or in a slot that is being plugged.
    """

    paged_out: Mapping[str, Allowed]
    shared: Mapping[str, Allowed]
    early: Mapping[str, Allowed]
    private: tuple[Mapping[str, Allowed], ...]
    untreated: tuple[str, ...]
    states: tuple[str, ...]

    @classmethod
    def of(cls, tables: Tables) -> Self:
        """Return the words of a design."""
        four = HvGfnState.SHARED in tables.row.states
        unmigrated = {"hv": "NORMAL", "imported": NO, "sent": NO, "stand_in": NO}
        asleep = {**unmigrated, "uv_vm": "ACTIVE", "frame": "ZERO"}
        early = {**asleep, "esm": BEFORE_DONE}
        cut = {"resetting": others("resetting", NONE), "esm": others("esm", *EXCLUSIVE)}
        late = not tables.row.plugged_secure
        plugging = (
            ({"plugging": ("PLUG_REGISTERS", "PLUG", "PLUG_FAILED")}, cut)
            if late
            else ({"plugging": "PLUG"},)
        )
        awake = {**unmigrated, "uv_vm": ("SECURE", "ABORT")}
        plugged = tuple({**each, **moment} for each in (asleep, awake) for moment in plugging)
        return cls(
            {"hv": "PAGED_OUT" if four else "NORMAL", "stand_in": YES},
            {"hv": "SHARED" if four else "NORMAL", "host_populated": YES},
            early,
            ({"hv": "SECURE"}, early, *plugged),
            ("PLUG", "PLUG_REGISTERS") if late else ("PLUG",),
            tuple(sorted(state.name for state in tables.row.states)),
        )
