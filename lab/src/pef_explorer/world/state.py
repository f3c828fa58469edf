"""The state of the small system and its actors, and how it is saved and put back.

A state in which no call is open is *quiescent*; one in which only a UV_ESM stands between two phases is
*suspended*. A snapshot is taken only there, because an operation under way can't be copied. Every other state
is reached again by the moves that led to it.
"""

from typing import Final

from pef_explorer.actions.action import Kept
from pef_explorer.actions.move import VM, Move
from pef_explorer.actions.oracle import ZERO, Oracle
from pef_explorer.actions.table import SHARES, STORE, starts
from pef_explorer.machines.open_call import OpenCall
from pef_explorer.machines.small_esm import gfns_of
from pef_explorer.machines.small_memory import TOKEN_BYTES
from pef_explorer.machines.system import SuspendedEsm, System
from pef_explorer.plan import Part, Plan
from pef_explorer.world.network import copies, key_of_the_wire, put_back
from pef_explorer.world.observation import Observation, observe
from pef_explorer.world.records import Open, SettledState
from pef_explorer.world.state_key import key_of, shape_of
from pef_protocol.states import UvGfnState

STATES: Final = tuple(UvGfnState)


class WorldState:
    """The system, its oracle, and the calls that are open."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.system = System(plan)
        self.oracle = Oracle(plan.pages)
        self.open: dict[str, Open] = {}
        self.faults, self.troubles = plan.faults, plan.troubles
        self.faulty = self.in_doubt = False
        """Whether a message went wrong since the beginning, and whether in a way that leaves doubt."""
        self.begun = 0
        """Actions begun since the last quiescent state: those that may have been open together."""
        self.lost = False
        """The SVM died with the Ultravisor, and no hello has been answered since."""
        self._now: Observation | None = None
        self._shape = shape_of(self.now)
        self._put_back: tuple[SettledState, Observation] | None = None
        """The state that was put back last, and what was observed then: most often it is put back again."""
        self.used_ivs: set[tuple[int, bytes]] = set()
        self.iv_again = False
        """A page was sealed with an IV that its key has been used with."""
        self.failed = ""
        """Why the last move made a UV_ESM fail, or nothing."""
        self.kept: Kept | None = None
        self.starts = [*starts(plan)]
        self.place = 0
        """The number of the vCPU that makes the UV_ESM."""

    def saved(self) -> SettledState:
        """Return this quiescent or suspended state as a plain value."""
        snapshot = self.system.snapshot(self._suspended())
        return SettledState(
            snapshot,
            self.oracle.frozen(),
            self.faults,
            self.troubles,
            copies(self.system),
            frozenset(self.used_ivs),
            self.kept,
        )

    def put_back(self, settled: SettledState) -> None:
        """Go back to a saved state; close every open call."""
        for each in self.open.values():
            each.call.close()
        self.open.clear()
        self.system.restore(settled.snapshot)
        put_back(self.system, settled.copies)
        self.oracle.thaw(settled.memory)
        self.used_ivs = set(settled.used_ivs)
        self.kept = settled.kept
        self.iv_again = False
        self.faults, self.troubles = settled.faults, settled.troubles
        self.faulty = self.in_doubt = settled.faults < self.plan.faults
        self.begun = 0
        self.lost = False
        if self._put_back is not None and self._put_back[0] is settled:
            self._now = self._put_back[1]
        else:
            self._now = None
            self._put_back = settled, self.now
            self._shape = shape_of(self.now)
        self.place = settled.snapshot.suspended.vcpu if settled.snapshot.suspended else 0

    def _suspended(self) -> SuspendedEsm | None:
        entering = self.system.entering
        if entering is None or entering.reply is not None:
            return None
        failure = entering.failure
        return SuspendedEsm(
            self.place, entering.place, (int(failure.code), str(failure)) if failure else None
        )

    @property
    def now(self) -> Observation:
        """Return an observation of both machines as they are."""
        if self._now is None:
            self._now = observe(self.system)
        return self._now

    @property
    def suspended(self) -> SuspendedEsm | None:
        """Return the UV_ESM that stands between two phases, or None."""
        return self._suspended() if self.quiescent else None

    @property
    def esm_stands(self) -> bool:
        """Tell whether a UV_ESM stands between two phases while somebody else acts."""
        others = bool(self.open) and all(each.action is not None for each in self.open.values())
        return others and self._suspended() is not None

    @property
    def brought(self) -> list[int]:
        """Return the GFNs that UV_ESM asks for and measures."""
        return [gfn for gfn, part in enumerate(self.plan.parts) if part is Part.BROUGHT]

    @property
    def imported(self) -> list[int]:
        """Return those for which a UV_ESM that is under way has asked already."""
        entering, brought = self.system.entering, self.brought
        if entering is None or entering.failure is not None or entering.reply is not None:
            return []
        return [gfn for step in entering.steps[: entering.place] for gfn in gfns_of(step) if gfn in brought]

    @property
    def whole(self) -> frozenset[int]:
        """Return the footprint of an action on the whole VM."""
        return frozenset({VM, *range(self.plan.pages)})

    def open_unanswered(self, move: Move, call: OpenCall) -> None:
        """Note a call of which nobody hears how it ends."""
        for each in self.open.values():
            each.alone = False
        self.open[move.actor] = Open(move, call, self.whole, frozenset(), (), False, None, unanswered=True)

    def changed(self) -> bool:
        """Tell whether the machines differ from what they were when the last saved state was put back."""
        return shape_of(self.now) != self._shape

    @property
    def names(self) -> set[str]:
        """Return what is being done."""
        return {each.move.action for each in self.open.values()}

    @property
    def quiescent(self) -> bool:
        """Tell whether nothing is open, and both sides share an epoch."""
        return not self.open and not self.system.apart

    def note_sealed(self) -> None:
        """Remember what pages looked like when they went out, and with which IVs they were sealed."""
        svm = self.system.svm
        for iv in svm.sealer.used_ivs if svm else ():  # type: ignore[attr-defined]
            used = self.system.generation, iv
            self.iv_again |= used in self.used_ivs
            self.used_ivs.add(used)
        if svm:
            svm.sealer.used_ivs.clear()  # type: ignore[attr-defined]
        for slot in svm.slots if svm else ():
            for at in range(slot.count):
                counter, gfn = int(slot.counter[at]), slot.first + at
                mark = self.system.generation << 32 | counter
                if counter and mark != self.oracle.sealed[gfn][0]:
                    page = self.system.normal_page(gfn)
                    if page is not None:
                        self.oracle.sealed[gfn] = mark, self.system.memory.known[page].tobytes()

    def token(self, kind: bytes, gfn: int) -> bytes:
        """Return a token that is nowhere yet."""
        seen = frozenset(page[:TOKEN_BYTES] for page in (*self.now.normal, *self.now.frames))
        return self.oracle.new_token(kind, gfn, seen | (self.kept.held if self.kept else frozenset()))

    def at_uv(self, gfn: int) -> UvGfnState | None:
        """Return the state of a GFN in the Ultravisor, or None."""
        svm = self.system.svm
        slot = svm.slots.holding(gfn) if svm else None
        return None if slot is None else STATES[slot.state[gfn - slot.first]]

    def shares(self, gfn: int) -> bool:
        """Tell whether the guest is sharing a GFN at this moment."""
        return any(each.move.action in SHARES and gfn in each.footprint for each in self.open.values())

    def is_shared_meanwhile(self, gfn: int) -> None:
        """Note that the guest shares a GFN to which its open stores may go."""
        for each in self.open.values():
            if each.token and each.move.action == STORE and each.move.gfn == gfn:
                each.disclosed = True
                self.oracle.disclosed |= {each.token}

    def key(self) -> tuple[object, ...]:
        """Return what makes this state differ from others."""
        calls = tuple((actor, self.open[actor].key) for actor in sorted(self.open))
        begun = self.begun if calls else 0
        outside = self.wire_key(), self.kept_key()
        return key_of(self.now, self.oracle), calls, self.suspended_key(), outside, begun

    def wire_key(self) -> tuple[object, ...]:
        """Return which faults may yet happen on the wire, as plain numbers and bytes."""
        return self.faults, tuple(self.troubles), self.system.apart, self.lost, key_of_the_wire(self.system)

    def kept_key(self) -> tuple[object, ...] | None:
        """Return what makes an encrypted page that the host has kept differ from others.

        Of which GFN it is, whether it is the newest, whether that GFN still holds the same, where it stands.
        """
        if self.kept is None:
            return None
        gfn, page, held = self.kept
        stands = tuple([each == page for each in self.now.normal])
        return gfn, page == self.oracle.sealed[gfn][1], held == self.oracle.may[gfn], ZERO in held, stands

    def suspended_key(self) -> tuple[object, ...] | None:
        """Return the UV_ESM that is under way without a live operation, as plain numbers."""
        suspended = self._suspended()
        return tuple(suspended) if suspended else None
