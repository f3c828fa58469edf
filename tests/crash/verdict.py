"""What is judged once a side has died and started anew: promise by promise, by the roles' own operations."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

from crash.hello import Exchange
from crash.kinds import Kind, Violation
from crash.memory import CANARY
from crash.tenants import MARKED, OUT, PAGES, PRIVATE, SHARED, Host, Tenant, Undone
from crash.threads import Thread, run
from crash.wire import Token, Unauthorized
from pef_explorer.checkpoints import hypervisor as hv_side
from pef_explorer.checkpoints import ultravisor as uv_side
from pef_explorer.invariants.counts import nothing_is_left_behind
from pef_explorer.machines.wire import Message, NotDone
from pef_hypervisor.outcome import Errno
from pef_kit.core.effects import PeerFailure
from pef_kit.core.lease import Ended
from pef_protocol.calls import Reply
from pef_protocol.designs import Design
from pef_protocol.events import Side
from pef_protocol.quantities import PAGE_SIZE
from pef_protocol.states import HvVmState
from pef_ultravisor import invariants
from pef_ultravisor.access import AccessFailure

REFUSED: Final = (Undone, Unauthorized, AccessFailure, PeerFailure, Ended, NotDone)
"""How a role reads that it is not served."""
REACHING: Final = 112
"""Pages of a new VM's second slot: with the first it covers all pages that were shared before."""


class Judge:
    """Judges one run of one case; `before` are the messages that were sent before the side died."""

    def __init__(self, host: Host, tenants: list[Tenant], before: Sequence[Message | Exchange]) -> None:
        self.host = host
        self.machines = host.machines
        self.acting, self.secure, self.normal = tenants
        self.tenants = tenants
        self.before = list(before)
        self.new: list[Tenant] = []
        self.public_key = self.machines.uv.machine_key.public_bytes
        self.sealed = {
            (tenant.lpid, gfn): self._page(tenant.lpid, gfn)
            for tenant in tenants
            if tenant.secure
            for gfn in OUT
            if tenant.lpid in self.machines.hv.store.vms
        }

    def _page(self, lpid: int, gfn: int) -> bytes:
        """Return the first bytes of the normal page of a GFN, as they are."""
        slot = self.machines.hv.store.vms[lpid].slots.holding(gfn)
        return bytes(self.machines.memory.at(slot.base + (gfn - slot.first) * PAGE_SIZE, 32)) if slot else b""

    # After a restart of the Hypervisor

    def before_its_first_call(self) -> Iterator[Violation]:
        """Judge what a new Hypervisor finds: no SVM, and nothing of one."""
        uv = self.machines.uv
        if uv.svms:
            yield Violation(Kind.SVM_OUTLIVES, f"SVMs of lpids {sorted(uv.svms)} are there")
        yield from self._left("ABCabc")

    def new_hypervisor(self) -> Iterator[Violation]:
        """Judge that a new VM is nobody else's, and becomes secure."""
        try:
            new = self.host.new("D", Design.TRACKED, REACHING)
        except REFUSED as reason:
            yield Violation(Kind.NEW_NOT_SECURE, f"it can't be made: {reason}")
            return
        yield from self._old_guests(new)
        try:
            self.host.enter(new)
        except REFUSED as reason:
            yield Violation(Kind.NEW_NOT_SECURE, str(reason))
            return
        self.host.mark_again(new)
        yield from self._old_guests(new)
        self.host.mark_again(new)
        self.new = [new]
        yield from self._bytes(new)

    def _old_guests(self, new: Tenant) -> Iterator[Violation]:
        """Have each guest of before try its tokens: to load what it knew, and to store where it shared."""
        before = dict(new.marked)
        for tenant in self.tenants:
            for token in (tenant.at_hypervisor, tenant.at_ultravisor):
                own = tenant.lpid == new.lpid
                for gfn in MARKED:
                    seen = None
                    with suppress(*REFUSED):
                        seen = self.host.load(token, gfn)
                    if seen is None:
                        continue
                    found = CANARY.match(seen)
                    reads = found is not None and found[1] in b"Dd"
                    kind = Kind.OLD_TOKEN if own else Kind.GUEST_READS if reads else Kind.GUEST_SERVED
                    yield Violation(
                        kind, f"{tenant.name} loads GFN {gfn} from the {token.side.value}: {seen[:24]!r}"
                    )
                for gfn in SHARED:
                    with suppress(*REFUSED):
                        self.host.run(
                            token.side,
                            self.machines.store(token, gfn * PAGE_SIZE, b"by " + tenant.name.encode()),
                        )
                for found_ in self._bytes(new):
                    yield Violation(
                        Kind.OLD_TOKEN if own else Kind.GUEST_WRITES,
                        f"{tenant.name}, by the {token.side.value}: {found_.detail}",
                    )
                    new.marked = before
                    self.host.mark_again(new)

    # After a restart of the Ultravisor

    def living_on(self) -> Iterator[Violation]:
        """Judge that the normal VM goes on, whatever the Ultravisor does."""
        if self.normal.lpid in self.machines.hv.store.vms:
            yield from self._bytes(self.normal)
        else:
            yield Violation(Kind.NOT_SERVED, "the normal VM is gone")

    def new_ultravisor(self) -> Iterator[Violation]:
        """Judge what the Hypervisor makes of it: VMs are normal, and can become secure."""
        hv = self.machines.hv
        try:
            new = self.host.new("D")
        except REFUSED as reason:
            yield Violation(Kind.NEW_NOT_SECURE, f"it can't be made: {reason}")
            return
        listed = [tenant for tenant in self.tenants if tenant.lpid in hv.store.vms]
        for tenant in listed:
            if hv.store.vms[tenant.lpid].state is HvVmState.SECURE:
                yield Violation(Kind.STILL_SECURE, f"{tenant.name}, lpid {tenant.lpid}")
        normal = [tenant for tenant in listed if hv.store.vms[tenant.lpid].state is HvVmState.NORMAL]
        for tenant in listed:
            if tenant is self.normal:
                continue
            outcome = self.host.run(
                Side.HYPERVISOR, self.machines.leased(Side.HYPERVISOR, hv.reset(tenant.lpid))
            )
            if outcome.errno is not Errno.OK:
                yield Violation(Kind.STUCK, f"reset of {tenant.name}: {outcome.errno.name} {outcome.detail}")
                continue
            tenant.secure = False
            for gfn in OUT:
                sealed = self.sealed.get((tenant.lpid, gfn), b"")
                if any(sealed) and self._page(tenant.lpid, gfn) == sealed:
                    yield Violation(Kind.CIPHERTEXT_LEFT, f"{tenant.name}, GFN {gfn}")
        private = {*PRIVATE, *OUT}
        for violation in self._left("AB"):
            if int(violation.detail.split()[4]) in private:
                yield violation
        yield from self._enter(new, Kind.NEW_NOT_SECURE)
        for tenant in listed:
            old = tenant.at_ultravisor
            yield from self._enter(tenant, Kind.NORMAL_NOT_SECURE if tenant in normal else Kind.STUCK)
            if tenant.secure:
                yield from self._refused(old, tenant)
        self.new = [tenant for tenant in (new, *listed) if tenant.secure]

    def _enter(self, tenant: Tenant, kind: Kind) -> Iterator[Violation]:
        """Judge that a VM becomes secure, with an image of before."""
        hv = self.machines.hv
        try:
            if hv.store.vms[tenant.lpid].slots.holding(0) is None:  # its removal had begun, and is done
                self.host.vmm(hv.add_slot(tenant.lpid, 0, 0, PAGES * PAGE_SIZE))
            try:
                self.host.enter(tenant, self.public_key)
            except Undone as reason:
                if "U_NO_KEY" not in str(reason):
                    raise
                yield Violation(Kind.IMAGE_DEAD, str(reason))
                self.host.enter(tenant)
            self.host.mark_again(tenant)
        except REFUSED as reason:
            yield Violation(kind, f"{tenant.name}: {reason}")

    def _refused(self, old: Token, tenant: Tenant) -> Iterator[Violation]:
        """Judge that a token of an SVM before is refused."""
        with suppress(*REFUSED):
            seen = self.host.load(old, PRIVATE[0])
            yield Violation(
                Kind.OLD_TOKEN, f"{tenant.name} loads GFN {PRIVATE[0]} of its new SVM: {seen[:24]!r}"
            )

    # After either

    def early(self) -> Iterator[Violation]:
        """Deliver what was sent before, while no VM is new."""
        yield from self._messages(self.before, Kind.LATE)

    def late(self) -> Iterator[Violation]:
        """Deliver what was sent before, now that VMs are new."""
        yield from self._messages(self.before, Kind.LATE)

    def repeated(self) -> Iterator[Violation]:
        """Deliver once more what was sent since."""
        yield from self._messages(self.machines.messages[len(self.before) :], Kind.AGAIN)

    def _messages(self, messages: Sequence[Message | Exchange], kind: Kind) -> Iterator[Violation]:
        """Deliver messages in the order of sending, and backwards; none may change anything."""
        before = self._state()
        for message in [*messages, *reversed(messages)]:
            with suppress(NotDone):
                arrived = (
                    message.arrive() if isinstance(message, Exchange) else self.machines.receive(message)
                )
                if not isinstance(arrived, Reply):
                    run([Thread.begin(self.machines, message.to, arrived)])
            if self._state() != before:
                yield Violation(kind, str(message.ask if isinstance(message, Message) else message)[:160])
                return
        for tenant in self.new:
            yield from (Violation(kind, violation.detail) for violation in self._bytes(tenant))

    def _state(self) -> tuple[object, object]:
        return uv_side.checkpoint(self.machines.uv), hv_side.checkpoint(self.machines.hv)

    def nothing_stays(self) -> Iterator[Violation]:
        """Destroy all VMs; judge that nothing of any is left."""
        hv, uv = self.machines.hv, self.machines.uv
        for lpid in sorted(hv.store.vms):
            outcome = self.host.run(Side.HYPERVISOR, self.machines.leased(Side.HYPERVISOR, hv.destroy(lpid)))
            if outcome.errno is not Errno.OK:
                yield Violation(Kind.STUCK, f"destroy of lpid {lpid}: {outcome.errno.name} {outcome.detail}")
                return
        yield from (Violation(Kind.LEAK, sentence) for sentence in nothing_is_left_behind(uv, hv))
        yield from (Violation(Kind.DISAGREE, broken) for broken in [*invariants.broken(uv), *hv.invariants()])
        yield from self._left("ABCDabcd")

    def _bytes(self, tenant: Tenant) -> Iterator[Violation]:
        """Judge that a guest reads what it stored."""
        token = tenant.at_ultravisor if tenant.secure else tenant.at_hypervisor
        for gfn, content in tenant.marked.items():
            try:
                seen = self.host.load(token, gfn)
            except REFUSED as reason:
                yield Violation(Kind.NOT_SERVED, f"{tenant.name} is not served: {reason}")
                return
            if seen != content:
                yield Violation(Kind.BYTES_CHANGED, f"{tenant.name} reads {seen[:24]!r} in GFN {gfn}")

    def _left(self, names: str) -> Iterator[Violation]:
        """Find canaries of VMs that ended, in normal memory and in frames."""
        found = [("normal memory", *one) for one in self.machines.memory.canaries()]
        found += [("a frame", *one) for frames in self.machines.frames for one in frames.canaries()]
        for where, name, gfn in found:
            if name in names:
                yield Violation(Kind.BYTES_LEFT, f"of {name}, of GFN {gfn}, in {where}")
