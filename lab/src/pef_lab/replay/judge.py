"""A second judge: what a replay shows from outside, judged without a look at what the file says of it.

| invariant | broken where |
|---|---|
| `the_tables_agree` | both sides call the VM secure, and their states of a GFN don't agree |
| `the_vm_lives_by_its_table` | one side calls the VM secure, the other one doesn't, and it isn't aborted |
| `no_gfn_stays_in_between` | a GFN is in a transient state while no call is open |
| `an_error_changes_neither_side` | a call that was alone is refused, and a state has changed |
| `what_is_asked_succeeds` | a call that was alone is refused, and nothing gave a reason for it |
| `what_was_promised_is_so` | an unshare that was alone succeeded, and the page is shared |
| `nothing_maps_a_page_taken_away` | a shared page has a mapping that the host took, and did not give again |
| `the_guest_finds_what_it_wrote` | the guest loads bytes that nobody wrote there, or zero with no reason |
| `no_plaintext_outside` | the host reads what the guest stored into a page of its own |

States are looked at whenever no call is open. Other invariants need a look at marks, records or IVs, which no
observer has. Once a message went wrong, only bytes are judged: the explorer knows what else may be then.

Source: attacks, "invariants".
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from pef_lab.agreement import SHARED_STATES
from pef_lab.at_rest import AT_REST, VmAtRest
from pef_lab.known_designs import known_designs
from pef_lab.replay.counterexample import BAD_IMAGE, NOTHING, System
from pef_lab.replay.words import AS_WRITTEN, EITHER, OTHER, ZERO, Fate
from pef_protocol.codes import UCode
from pef_protocol.designs import DesignName
from pef_protocol.states import UvGfnState

JUDGED: Final = frozenset(
    {
        "the_tables_agree",
        "the_vm_lives_by_its_table",
        "no_gfn_stays_in_between",
        "an_error_changes_neither_side",
        "what_is_asked_succeeds",
        "what_was_promised_is_so",
        "nothing_maps_a_page_taken_away",
        "the_guest_finds_what_it_wrote",
        "no_plaintext_outside",
    }
)
OF_BYTES: Final = frozenset({"the_guest_finds_what_it_wrote", "no_plaintext_outside"})
SHARED: Final = frozenset(state.name for state in SHARED_STATES)
MAPPED: Final = frozenset(name for name in SHARED if not name.endswith("_INV"))
EXPLICIT: Final = frozenset({UvGfnState.SHARED.name, UvGfnState.SHARED_INV.name})
PRIVATE: Final = frozenset({UvGfnState.SECURE.name, UvGfnState.PAGEDOUT.name})
SUCCESS: Final = frozenset({"OK", "resolved", AS_WRITTEN, ZERO, OTHER, EITHER, UCode.U_SUCCESS.name})
ENTERS: Final = frozenset({"UV_ESM", BAD_IMAGE})
ENDS_SVM: Final = frozenset({"reset", "reboot"})
ZEROES: Final = frozenset({"share", "unshare"})
OF_THE_OWN: Final = frozenset({"load", "store", "unshare"})
"""What the Ultravisor denies the guest on a page that it shares for its own use."""


@dataclass(frozen=True, slots=True)
class Breach:
    """An invariant that was seen broken after a step (counted from 1), or by a look at bytes (no step)."""

    invariant: str
    sentence: str
    step: int | None = None

    def __str__(self) -> str:
        moment = "by what was read" if self.step is None else f"after step {self.step}"
        return f"{self.invariant}, {moment}: {self.sentence}"


@dataclass(slots=True)
class _OpenAction:
    action: str
    gfn: int | None
    alone: bool


@dataclass(slots=True)
class _Page:
    """What is known of a GFN. `may_be_zero`: something zeroed it since it was written, or may have."""

    may_be_zero: bool = True
    tainted: bool = False
    """The host wrote while its ciphertext was out."""
    taken: bool = False
    """The host took the shared page away, and has not offered one since."""
    void: bool = False
    """What was written last is gone: the page was zeroed for sure since."""
    secret: bool = False
    """The last that was written to it the guest stored into a page of its own."""


@dataclass(slots=True)
class Judge:
    """Judges one replay of a small system under a design; `breaches` has the first one of each invariant."""

    system: System
    design: DesignName
    breaches: dict[str, Breach] = field(default_factory=dict)
    faulty: bool = False
    """A message went wrong: it was refused, doubled or lost on purpose."""
    _pages: dict[int, _Page] = field(default_factory=dict)
    _open: dict[str, _OpenAction] = field(default_factory=dict)
    _rest: VmAtRest | None = None
    _ended: tuple[_OpenAction, str] | None = None
    """The call that was alone and has ended since the last rest, and how."""

    def __post_init__(self) -> None:
        self._pages = {gfn: _Page() for gfn in self.system.gfns}

    # What is done

    def begins(self, actor: str, action: str, gfn: int | None) -> None:
        """Note that an action begins."""
        for other in self._open.values():
            other.alone = False
        self._open[actor] = _OpenAction(action, gfn, not self._open)
        if action in ENTERS:
            self._may_be_zero(*self._of_role("shared"))
        elif action == "unshare all" or (action in ENDS_SVM and self._has_svm):
            self._may_be_zero(*self.system.gfns)
        elif action in ZEROES and gfn is not None:
            self._may_be_zero(gfn)
            self._pages[gfn].secret = False

    def ends(self, actor: str, word: str, fate: Fate = Fate.OPEN) -> None:
        """Note how the action of an actor ended; `fate`: what became of what it wrote."""
        ended = self._open.pop(actor)
        done, page = word in SUCCESS, self._pages.get(-1 if ended.gfn is None else ended.gfn)
        self._ended = (ended, word) if ended.alone else None
        match ended.action:
            case "store" | "host write" if done and page is not None and ended.gfn is not None:
                self._written(ended, page, ended.gfn, fate)
            case "load" if ended.gfn is not None:
                self._found(ended.gfn, word)
            case "host read" | "page out" if ended.gfn is not None:
                self.host_found(ended.gfn, word)
            case "unmap" if done and page is not None:
                page.taken = True
            case "UV_ESM" | "UV_ESM with a bad image":
                zeroed = self._of_role("unmigrated") if done else [g for g in self._pages if self._tainted(g)]
                self._may_be_zero(*zeroed)
                if done and not known_designs()[self.design].moves_unmigrated:
                    self._void(*zeroed)
            case "share" | "unshare" if done and ended.gfn is not None and ended.alone:
                self._void(*{ended.gfn}.difference(self._of_role("shared")))
            case "hot-add":
                self._may_be_zero(*self._plugged())
        if ended.action in ENDS_SVM and done:
            for each in self._pages.values():
                each.tainted = each.taken = False

    def offered(self, gfns: Iterable[int]) -> None:
        """Note that the Hypervisor gave the Ultravisor pages for GFNs."""
        for gfn in gfns:
            self._pages[gfn].taken = False

    # What is seen

    def rests(self, step: int, now: VmAtRest) -> None:
        """Judge what both sides show after a step, while no call is open."""
        before, self._rest = self._rest, now
        ended, self._ended = self._ended, None
        if self.faulty:
            return
        for invariant in AT_REST:
            for sentence in invariant(now):
                self._broken(invariant.__name__, sentence, step)
        for gfn, (_, ultravisor) in now.tables.items():
            if ultravisor in {*PRIVATE, NOTHING}:
                self._pages[gfn].taken = False
            if self._pages[gfn].taken and ultravisor in MAPPED and not now.is_aborted:
                sentence = f"GFN {gfn} is {ultravisor}, and the host has taken its page away"
                self._broken("nothing_maps_a_page_taken_away", sentence, step)
        if before is not None and ended is not None:
            self._ended_alone(*ended, before, now, step)

    def guest_found(self, gfn: int, word: str) -> None:
        """Judge what the guest loads of a GFN once all steps are made."""
        rest = self._rest
        if word not in SUCCESS and rest is not None and not self.faulty:
            own = gfn in self._of_role("shared") and rest.is_secure
            if not (own or rest.is_aborted or self._tainted(gfn) or rest.tables[gfn][0] == NOTHING):
                sentence = f"the guest loads nothing from GFN {gfn}: {word}"
                self._broken("the_guest_finds_what_it_wrote", sentence)
        self._found(gfn, word)

    def host_found(self, gfn: int, word: str) -> None:
        """Judge what the host reads of a GFN."""
        if self._pages[gfn].secret and word in {AS_WRITTEN, EITHER}:
            sentence = f"the host reads in GFN {gfn} what the guest stored into a page of its own"
            self._broken("no_plaintext_outside", sentence)

    # How it is judged

    def _broken(self, invariant: str, sentence: str, step: int | None = None) -> None:
        self.breaches.setdefault(invariant, Breach(invariant, sentence, step))

    def _found(self, gfn: int, word: str) -> None:
        page = self._pages[gfn]
        if (
            word == OTHER
            or (word == ZERO and not page.may_be_zero)
            or (page.void and word in {AS_WRITTEN, EITHER})
        ):
            found = "zero" if word == ZERO else "other bytes"
            sentence = f"the guest loads {found} from GFN {gfn}, not what was last written"
            self._broken("the_guest_finds_what_it_wrote", sentence)

    def _written(self, ended: _OpenAction, page: _Page, gfn: int, fate: Fate) -> None:
        rest = self._rest
        private = rest is not None and rest.is_secure and rest.tables[gfn][1] in PRIVATE
        page.secret = ended.action == "store" and private and ended.alone
        page.tainted |= fate is Fate.ASTRAY
        page.void &= fate is Fate.ASTRAY
        if fate is Fate.WRITTEN:
            page.may_be_zero = any(self._zeroes(other, gfn) for other in self._open.values())

    def _zeroes(self, other: _OpenAction, gfn: int) -> bool:
        """Tell whether an action that is open may zero a GFN."""
        if other.action in ENTERS:
            return gfn in {*self._of_role("shared"), *self._of_role("unmigrated")}
        return other.action in ENDS_SVM | {"unshare all"} or (other.action in ZEROES and other.gfn == gfn)

    def _ended_alone(self, ended: _OpenAction, word: str, before: VmAtRest, now: VmAtRest, step: int) -> None:
        gfns = [*self._pages] if ended.gfn is None else [ended.gfn]
        name = ended.action if ended.gfn is None else f"{ended.action} of GFN {ended.gfn}"
        shared = [gfn for gfn in gfns if now.tables[gfn][1] in EXPLICIT]
        if word == UCode.U_SUCCESS.name and ended.action in {"unshare", "unshare all"} and shared:
            sentence = f"{name} succeeded, and GFN {shared[0]} is shared"
            self._broken("what_was_promised_is_so", sentence, step)
        if word in SUCCESS or ended.action in ENTERS:
            return
        if now != before:
            sentence = f"{name} was refused ({word}), and changed a state"
            self._broken("an_error_changes_neither_side", sentence, step)
        own = ended.gfn in self._of_role("shared") and ended.action in OF_THE_OWN
        absent = ended.gfn is not None and before.tables[ended.gfn][0] == NOTHING
        if not (own or absent or before.is_aborted or any(map(self._tainted, gfns))):
            self._broken("what_is_asked_succeeds", f"{name} ended {word}", step)

    def _may_be_zero(self, *gfns: int) -> None:
        for gfn in gfns:
            self._pages[gfn].may_be_zero = True

    def _void(self, *gfns: int) -> None:
        for gfn in gfns:
            self._pages[gfn].void = True

    @property
    def _has_svm(self) -> bool:
        return self._rest is not None and self._rest.ultravisor != NOTHING

    def _tainted(self, gfn: int) -> bool:
        return self._pages[gfn].tainted

    def _of_role(self, role: str) -> list[int]:
        plugged = self._plugged() if role == "unmigrated" else []
        return [gfn for gfn, each in enumerate(self.system.image) if each == role] + plugged

    def _plugged(self) -> list[int]:
        return [*self.system.gfns[len(self.system.image) :]]
