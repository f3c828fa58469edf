"""What must hold after each step, each kind of violation with a name of its own.

They look at both machines from outside. `BYTES` hold at every moment, whoever lies; `RESTING` once everything
has ended and nobody lied.
"""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import numpy as np

from interleavings.machines import SPARE_PAGES, NotedSealer
from interleavings.operations import Fixture
from interleavings.written import ZERO, read
from pef_explorer.actions.oracle import SECRET
from pef_explorer.invariants.counts import nothing_is_reserved
from pef_explorer.invariants.observed import rest_of
from pef_explorer.machines.small_memory import KNOWN_BYTES
from pef_hypervisor.gfn.columns import VmSlot
from pef_kit.runtime.bus import NORMAL_BASE
from pef_lab.at_rest import AT_REST
from pef_protocol.quantities import PAGE_ORDER
from pef_protocol.states import HvVmState, UvGfnState, UvVmState
from pef_ultravisor import invariants

SPARE_OWNER: Final = -1


class Violation(NamedTuple):
    """A kind, and one sentence."""

    kind: str
    sentence: str


Check = Callable[[Fixture], Iterator[Violation]]


def owners(fixture: Fixture) -> list[int]:
    """Return the tenant of each normal page, by what the Hypervisor keeps; 0: nobody."""
    pages = len(fixture.machines.memory.known)
    found = [0] * pages
    found[pages - SPARE_PAGES :] = [SPARE_OWNER] * SPARE_PAGES
    for lpid, vm in fixture.machines.hv.store.vms.items():
        for slot in vm.slots:
            first = int(slot.base) - NORMAL_BASE >> PAGE_ORDER
            found[first : first + slot.count] = [fixture.tenant(lpid)] * slot.count
    return found


def normal_pages_hold_their_owners_bytes(fixture: Fixture) -> Iterator[Violation]:
    """Require that no page of another tenant, or of nobody, holds what a tenant wrote, or its ciphertext."""
    known = fixture.machines.memory.known
    whose = owners(fixture)
    for place in np.flatnonzero(known.any(axis=1)).tolist():
        value, owner = known[place].tobytes(), whose[place]
        token = read(value)
        if token is not None and token.kind == SECRET:
            yield Violation("secret outside", f"normal page {place} holds a secret of GFN {token.gfn}")
        if owner == SPARE_OWNER:
            continue
        if not owner:
            yield Violation("bytes in a free page", f"normal page {place} belongs to nobody, and is not zero")
        elif token is not None and token.tenant != owner:
            yield Violation(
                "foreign bytes", f"a page of tenant {owner} holds what tenant {token.tenant} wrote"
            )
        elif token is None:
            sealed = NotedSealer.noted.get(value)
            whom = fixture.tenant(sealed[0]) if sealed else 0
            inner = read(sealed[2]) if sealed else None
            whom = inner.tenant if inner else whom
            if sealed is not None and whom != owner:
                yield Violation(
                    "foreign ciphertext", f"a page of tenant {owner} holds one of tenant {whom}'s"
                )


def frames_hold_their_owners_bytes(fixture: Fixture) -> Iterator[Violation]:
    """Require that a frame holds what its own tenant wrote, or zero."""
    for lpid, svm in fixture.machines.uv.svms.items():
        for slot in svm.slots:
            known = fixture.machines.known_frames(slot)
            for at in np.flatnonzero(known.any(axis=1)).tolist():
                token = read(known[at].tobytes())
                gfn = slot.first + at
                if token is None:
                    yield Violation("junk in a frame", f"the frame of GFN {gfn} holds what nobody wrote")
                elif token.tenant != fixture.tenant(lpid):
                    yield Violation("foreign bytes", f"the frame of GFN {gfn} holds another tenant's bytes")
                elif token.gfn != gfn:
                    yield Violation("bytes of another GFN", f"the frame of GFN {gfn} holds GFN {token.gfn}'s")


def sides_keep_their_own(fixture: Fixture) -> Iterator[Violation]:
    """Require that neither side says that an invariant of its own is broken."""
    for sentence in invariants.broken(fixture.machines.uv):
        yield Violation("invariant of the Ultravisor", sentence)
    for sentence in fixture.machines.hv.invariants():
        yield Violation("invariant of the Hypervisor", sentence)


def nothing_is_open(fixture: Fixture) -> Iterator[Violation]:
    """Require that no reservation is left of what has ended."""
    for sentence in nothing_is_reserved(fixture.machines.uv, fixture.machines.hv):
        yield Violation("a reservation is left", sentence)


def the_vms_agree(fixture: Fixture) -> Iterator[Violation]:
    """Require that both sides agree on each VM and its GFNs, and that no honest race aborted one."""
    machines = fixture.machines
    for lpid in sorted({*machines.uv.svms, *machines.hv.store.vms}):
        seen = rest_of(machines.uv, machines.hv, lpid, machines.design)
        vm = machines.hv.store.vms.get(lpid)
        if seen.is_aborted:
            yield Violation("an SVM is aborted", f"VM {lpid}, and nobody lied")
        elif vm is None or not vm.must_abort:  # else only reset can follow
            for invariant in AT_REST:
                for sentence in invariant(seen):
                    yield Violation(invariant.__name__, f"VM {lpid}: {sentence}")


def the_pools_agree(fixture: Fixture) -> Iterator[Violation]:
    """Require that both sides count as many secure pages, where no SVM is half made."""
    uv, hv = fixture.machines.uv, fixture.machines.hv
    states = [svm.state for svm in uv.svms.values()] + [vm.state for vm in hv.store.vms.values()]
    at_rest = {UvVmState.SECURE, HvVmState.SECURE, HvVmState.NORMAL}
    if all(state in at_rest for state in states) and hv.store.pool.held != uv.resident:
        yield Violation("the pools differ", f"{hv.store.pool.held} held, {uv.resident} resident")


def pages_hold_what_was_written(fixture: Fixture) -> Iterator[Violation]:
    """Require that the guest would find what was written last, or zero where the protocol zeroes."""
    for lpid, vm in fixture.machines.hv.store.vms.items():
        tenant = fixture.tenant(lpid)
        for slot in vm.slots:
            for at in range(slot.count):
                place = tenant, slot.first + at
                value = seen_by_guest(fixture, lpid, slot, at)
                if value is None or place not in fixture.written.may or value in fixture.written.may[place]:
                    continue
                what = "zero" if value == ZERO else "a value of before" if read(value) else "ciphertext"
                yield Violation(
                    f"a page holds {what}", f"VM {lpid} GFN {place[1]} holds not what was written last"
                )


def seen_by_guest(fixture: Fixture, lpid: int, slot: VmSlot, at: int) -> bytes | None:
    """Return what the guest would load; None where that would fail, or where nobody can know."""
    machines, gfn = fixture.machines, slot.first + at
    vm, svm = machines.hv.store.vms[lpid], machines.uv.svm(lpid)
    page = bytes(machines.memory.known[(int(slot.base) - NORMAL_BASE >> PAGE_ORDER) + at])
    if svm is None:
        return page if vm.state is HvVmState.NORMAL else None
    theirs = svm.slots.holding(gfn)
    if theirs is None or svm.state is not UvVmState.SECURE:
        return None
    offset = gfn - theirs.first
    state = UvGfnState(int(theirs.state[offset]))
    if state is UvGfnState.PAGEDOUT:
        sealed = NotedSealer.noted.get(page)
        return sealed[2] if sealed and sealed[:2] == (lpid, gfn) else None
    if state in {UvGfnState.SHARED, UvGfnState.SHARED_IMPLICIT}:
        place = int(theirs.normal[offset]) - NORMAL_BASE >> PAGE_ORDER
        return bytes(machines.memory.known[place]) if place >= 0 else None
    if state in {UvGfnState.SHARED_INV, UvGfnState.SHARED_IMPLICIT_INV}:
        return page
    return bytes(machines.known_frames(theirs)[offset])


BYTES: Final[tuple[Check, ...]] = (normal_pages_hold_their_owners_bytes, frames_hold_their_owners_bytes)
RESTING: Final[tuple[Check, ...]] = (
    sides_keep_their_own,
    nothing_is_open,
    the_vms_agree,
    the_pools_agree,
    pages_hold_what_was_written,
)


def loaded(fixture: Fixture, lpid: int, content: bytes, first: int, *, host: bool) -> Iterator[Violation]:
    """Judge what a load or a read of VM `lpid` returned, from GFN `first` on."""
    for number, start in enumerate(range(0, len(content), 1 << PAGE_ORDER)):
        value = content[start : start + KNOWN_BYTES]
        token = read(value)
        if token is None:
            if any(value) and not host and value not in NotedSealer.noted:
                yield Violation("junk was loaded", f"VM {lpid} GFN {first + number}")
            if value in NotedSealer.noted and not host:
                yield Violation("ciphertext was loaded", f"VM {lpid} GFN {first + number}")
        elif token.tenant != fixture.tenant(lpid):
            yield Violation("foreign bytes", f"VM {lpid} was given what tenant {token.tenant} wrote")
        elif host and token.kind == SECRET:
            yield Violation("secret outside", f"the host read a secret of GFN {token.gfn}")
