"""The invariants, judged from outside: what normal memory holds, what loads find, what both tables say."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from pef_explorer.actions.names import ActionName
from pef_explorer.invariants.counts import nothing_is_left_behind, nothing_is_reserved
from pef_explorer.invariants.observed import rest_of
from pef_explorer.simulation.events import page_of_token
from pef_explorer.simulation.machines import SEEN_BYTES, Machines
from pef_explorer.simulation.oracle import SimulationOracle
from pef_explorer.simulation.pages import Watch, Whose
from pef_lab.at_rest import VmAtRest, disagreements, no_gfn_stays_in_between
from pef_protocol.designs import DesignName
from pef_protocol.states import HvGfnState as H

Found = tuple[str, str]
"""The name of an invariant that is broken, and a sentence."""


class Broken(Exception):
    """An invariant does not hold."""

    def __init__(self, invariant: str, sentence: str) -> None:
        super().__init__(f"{invariant}: {sentence}")
        self.invariant = invariant
        self.sentence = sentence


class Judge:
    """Looks at the machines after every event."""

    def __init__(self, machines: Machines, oracle: SimulationOracle, design: DesignName) -> None:
        self._machines = machines
        self._oracle = oracle
        self._design = design
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
        owner = machines.hv.store.vms.get(vm + 1)
        if owner is None or machines.life(vm + 1) == "neither" or owner.gate.open:
            return
        seen = self._at_rest(vm + 1)
        tables = {gfn: pair for gfn, pair in seen.tables.items() if gfn not in but}
        for sentence in disagreements(replace(seen, tables=tables)):
            raise Broken("the_tables_agree", f"VM {vm}: {sentence}")

    def _at_rest(self, lpid: int) -> VmAtRest:
        return rest_of(self._machines.uv, self._machines.hv, lpid, self._design)

    def judge_rest(self) -> None:
        """Raise Broken where, with no call open anywhere, the books do not add up."""
        for invariant, sentence in self._wrong_at_rest():
            raise Broken(invariant, sentence)

    def _wrong_at_rest(self) -> Iterator[Found]:
        uv, hv = self._machines.uv, self._machines.hv
        for sentence in nothing_is_reserved(uv, hv):
            yield "pools_add_up", sentence
        vms, pool = hv.store.vms, hv.store.pool
        secure = sum(slot.counted(H.SECURE) for vm in vms.values() for slot in vm.slots)
        if pool.held != secure:
            yield "pools_add_up", f"{pool.held} device pages are held; {secure} GFNs are secure"
        backed = sum(int(np.count_nonzero(slot.normal)) for svm in uv.svms.values() for slot in svm.slots)
        if uv.normal_pages.used != backed or uv.resident > uv.capacity.secure_pages:
            counts = f"{uv.resident} resident, {uv.normal_pages.used} taken; {backed} GFNs are backed"
            yield "pools_add_up", f"secure memory: {counts}"
        for lpid in vms.keys() | uv.svms.keys():
            for sentence in no_gfn_stays_in_between(self._at_rest(lpid)):
                yield "no_gfn_stays_in_between", f"VM {lpid - 1}: {sentence}"
        for vm in vms.values():
            if vm.gate.open:
                yield "a_call_that_fails_ends", f"VM {vm.lpid - 1} is held while no call is open"

    def judge_nothing_left(self) -> None:
        """Raise Broken where anything is left once every VM is destroyed."""
        machines = self._machines
        left = [*nothing_is_left_behind(machines.uv, machines.hv)]
        if machines.memory.known.any():
            left.append("no VM is left, and normal memory is not zero")
        for sentence in left:
            raise Broken("nothing_is_left_behind", sentence)
