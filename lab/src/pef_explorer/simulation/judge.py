"""The invariants, judged from outside: what normal memory holds, what loads find, what both tables say."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from pef_explorer.actions.names import ActionName
from pef_explorer.simulation.events import page_of_token
from pef_explorer.simulation.machines import SEEN_BYTES, Machines
from pef_explorer.simulation.oracle import SimulationOracle
from pef_explorer.simulation.pages import Watch, Whose
from pef_lab.agreement import TRANSIENT_STATES, agreeing_states
from pef_protocol.designs import DesignName
from pef_protocol.states import HvGfnState as H
from pef_protocol.states import UvGfnState as S
from pef_ultravisor.gfn.columns import FrameSlot

TRANSIENT: Final = np.array(sorted(TRANSIENT_STATES), np.uint8)
Found = tuple[str, str]
"""The name of an invariant that is broken, and a sentence."""


class Broken(Exception):
    """An invariant does not hold."""

    def __init__(self, invariant: str, sentence: str) -> None:
        super().__init__(f"{invariant}: {sentence}")
        self.invariant = invariant
        self.sentence = sentence


def _agreeing(design: DesignName) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which pairs of states agree (Hypervisor's x Ultravisor's) under a design."""
    agree = np.zeros((len(H), len(S)), np.bool_)
    for hv_state, uv_states in agreeing_states(design).items():
        agree[hv_state, list(uv_states)] = True
    return agree


class Judge:
    """Looks at the machines after every event."""

    def __init__(self, machines: Machines, oracle: SimulationOracle, design: DesignName) -> None:
        self._machines = machines
        self._oracle = oracle
        self._agree = _agreeing(design)
        self._before = machines.words.copy()
        self._sealed: set[int] = set()

    def starts_anew(self) -> None:
        """Go on with other normal memory, if it is another one by now."""
        self._before = self._machines.words.copy()

    def observe(self) -> None:
        """Look at normal memory: raise Broken where it holds what it may not."""
        now = self._machines.words.copy()
        if np.array_equal(now, self._before):
            return
        for page in np.flatnonzero((now != self._before).any(axis=1)).tolist():
            token, witness = now[page].tolist()
            if token in self._oracle.issued:
                self._judge_token(token, page)
            elif token and not witness:
                raise Broken(
                    "no_plaintext_outside", f"normal page {page} holds what nobody wrote: {token:#x}"
                )
            if witness and witness != int(self._before[page, 1]):
                if witness in self._sealed:
                    raise Broken(
                        "no_ciphertext_comes_twice", f"normal page {page}: a (key, IV) pair was used again"
                    )
                self._sealed.add(witness)
        self._before = now

    def _judge_token(self, token: int, page: int) -> None:
        vm, gfn = page_of_token(token)
        if token in self._oracle.buried:
            raise Broken(
                "nothing_outlives_its_vm", f"what a VM wrote that is no more is in normal page {page}"
            )
        if token in self._oracle.secrets:
            raise Broken("no_plaintext_outside", f"a secret of VM {vm}, GFN {gfn}, is in normal page {page}")
        if self._machines.page_of(vm + 1, gfn) != page:
            sentence = (
                f"what was written to VM {vm}, GFN {gfn}, is in normal page {page}, which is not its own"
            )
            raise Broken("a_real_address_backs_one_gfn", sentence)

    def judge_stored(self, token: int) -> None:
        """Raise Broken where a token that has just become a secret is in normal memory already."""
        if token in self._oracle.secrets:
            for page in np.flatnonzero(self._before[:, 0] == np.uint64(token)).tolist():
                self._judge_token(token, page)

    def judge_seen(self, watch: Watch, content: bytes) -> None:
        """Raise Broken where a load, or the host's look, found what it may not."""
        token, witness = (int.from_bytes(content[at : at + 8], "little") for at in (0, SEEN_BYTES // 2))
        start, stamp, found = watch.start, watch.stamps[0], watch.found or set()
        vm = self._oracle.vms[start.vm]
        where = f"VM {start.vm}, GFN {start.gfn}"
        if start.action is ActionName.LOAD:
            if witness or token not in found:
                raise Broken(
                    "a_page_in_gives_back_the_page_out", f"{where}: {self._said(token, witness, found)}"
                )
        elif not vm.undisturbed(stamp) or watch.life != vm.life:
            return
        elif vm.life == "normal" or (vm.life == "secure" and stamp.whose is Whose.SHARED):
            if witness or token not in found:
                raise Broken("host_and_guest_see_one_page", f"{where}: {self._said(token, witness, found)}")
        elif vm.life == "secure" and stamp.whose is Whose.PRIVATE and self._oracle.wrote(token):
            raise Broken("no_plaintext_outside", f"{where}: the host reads what the guest wrote")

    @staticmethod
    def _said(token: int, witness: int, found: set[int]) -> str:
        seen = "ciphertext" if witness else f"{token:#x}" if token else "zero"
        allowed = ", ".join(f"{each:#x}" if each else "zero" for each in sorted(found))
        return f"{seen} was read where only {allowed} may be"

    def judge_tables(self, vm: int, *, but: frozenset[int] = frozenset()) -> None:
        """Raise Broken where both tables of a VM with no open call do not agree; GFNs in `but` are let be."""
        machines = self._machines
        owner, svm = machines.hv.store.vms.get(vm + 1), machines.uv.svm(vm + 1)
        life = machines.life(vm + 1)
        if owner is None or life == "neither" or owner.gate.open:
            return
        for slot in owner.slots:
            frame_slot = svm.slots.get(slot.slot_id) if svm else None
            if svm is None:
                wrong = slot.state != H.NORMAL
            elif frame_slot is None:
                raise Broken("the_tables_agree", f"VM {vm}: slot {slot.slot_id} is not registered")
            else:
                wrong = ~self._agree[slot.state, frame_slot.state]
            for offset in np.flatnonzero(wrong).tolist():
                if slot.first + offset in but:
                    continue
                hv_state = H(int(slot.state[offset])).name
                uv_state = S(int(frame_slot.state[offset])).name if frame_slot else "nothing"
                where = f"VM {vm}, GFN {slot.first + offset}"
                sentence = f"{where}: {hv_state} to the Hypervisor, {uv_state} to the Ultravisor"
                raise Broken("the_tables_agree", sentence)

    def judge_rest(self) -> None:
        """Raise Broken where, with no call open anywhere, the books do not add up."""
        for invariant, sentence in self._wrong_at_rest():
            raise Broken(invariant, sentence)

    def _wrong_at_rest(self) -> Iterator[Found]:
        uv, store = self._machines.uv, self._machines.hv.store
        pool = store.pool
        secure = sum(slot.counted(H.SECURE) for vm in store.vms.values() for slot in vm.slots)
        if (pool.held, pool.reserved, pool.leaving) != (secure, 0, 0):
            held = f"{pool.held} held, {pool.reserved} reserved, {pool.leaving} leaving"
            yield "pools_add_up", f"device pages: {held}; {secure} GFNs are secure"
        backed = sum(int(np.count_nonzero(slot.normal)) for slot in self._slots())
        if uv.reserved or uv.normal_pages.used != backed or uv.resident > uv.capacity.secure_pages:
            counts = f"{uv.reserved} promised, {uv.resident} resident, {uv.normal_pages.used} taken"
            yield "pools_add_up", f"secure memory: {counts}; {backed} GFNs are backed"
        for vm in store.vms.values():
            if vm.moving or vm.gate.open:
                yield (
                    "a_call_that_fails_ends",
                    f"VM {vm.lpid - 1}: the Hypervisor holds GFNs, or the VM, in flight",
                )
        for slot in self._slots():
            if np.isin(slot.state, TRANSIENT).any() or slot.in_flight(slice(None)).any():
                yield "a_call_that_fails_ends", "a GFN is in a transient state, or in flight"

    def _slots(self) -> Iterator[FrameSlot]:
        for svm in self._machines.uv.svms.values():
            yield from svm.slots

    def judge_nothing_left(self) -> None:
        """Raise Broken where anything is left once every VM is destroyed."""
        machines = self._machines
        left: Final = {
            "VMs": len(machines.hv.store.vms),
            "SVMs": len(machines.uv.svms),
            "device pages": machines.hv.store.pool.used,
            "ranges of normal memory": len(machines.hv.store.memory.claims),
            "normal pages that back a GFN": machines.uv.normal_pages.used,
            "pages of normal memory that are not zero": int(
                np.count_nonzero(machines.memory.known.any(axis=1))
            ),
        }
        for what, count in left.items():
            if count:
                raise Broken("nothing_is_left_behind", f"{count} {what} are left with no VM")
