"""Three tenants on one pair: the one that acts, one whose VM is secure, and one whose VM is normal."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from crash.hello import introduce
from crash.memory import canary
from crash.threads import Thread, run
from crash.wire import Machines, Token
from pef_hypervisor.outcome import Errno, Outcome
from pef_kit.core.effects import Operation
from pef_lab.image import GuestImage, build_image
from pef_protocol.designs import Design
from pef_protocol.events import Side
from pef_protocol.quantities import PAGE_SIZE, Gfn
from pef_protocol.ultracalls import Esm, SharePage

PAGES: Final = 256
"""GFNs of a VM: the smallest image. Those of the image and some with canaries are ever touched."""
PLENTY: Final = 2048
"""Pages of secure memory with which no page ever has to make room."""
PRIVATE: Final = (100, 101)
OUT: Final = (102, 103)
"""Private, and paged out."""
SHARED: Final = (104, 105)
INVALIDATED: Final = (106,)
"""Shared, and taken away by the host."""
MARKED: Final = (*PRIVATE, *OUT, *SHARED, *INVALIDATED)
"""GFNs that hold a canary of their tenant."""
FILES: Final = {"disk-key": bytes(range(100))}


@cache
def image_for(public_key: bytes) -> GuestImage:
    """Return the image of a guest, sealed for the machine with that key."""
    return build_image(
        memory_size=PAGES * PAGE_SIZE,
        machine_public_key=public_key,
        bootargs="quiet",
        files=FILES,
        seed=1,
        kernel_size=70_000,
        initrd_size=60_000,
        entropy=random.Random(1).randbytes,
    )


class Undone(AssertionError):
    """What had to succeed did not."""


@dataclass(slots=True)
class Tenant:
    """Who has a VM: its name, its lpid, its tokens, and the pages by which its VM is known."""

    name: str
    lpid: int
    at_hypervisor: Token
    at_ultravisor: Token
    secure: bool = False
    marked: dict[int, bytes] = field(default_factory=dict)


class Host:
    """Runs a pair of machines and the tenants on it, as the VMM and as the guests."""

    def __init__(self, secure_pages: int = PLENTY) -> None:
        self.machines = Machines(secure_pages)
        run([Thread.begin(self.machines, Side.HYPERVISOR, introduce(self.machines))])

    def run(self, side: Side, operation: Operation[Any]) -> Any:
        """Run an operation of a side to its end, and return what it returns; raise what it raises."""
        thread = Thread.begin(self.machines, side, operation)
        run([thread])
        if thread.failure is not None:
            raise thread.failure
        return thread.outcome

    def vmm(self, operation: Operation[Outcome | bytes]) -> Mapping[str, int]:
        """Run an operation of the VMM, and return its outputs; raise Undone where it does not succeed."""
        outcome = self.run(Side.HYPERVISOR, self.machines.leased(Side.HYPERVISOR, operation))
        if not isinstance(outcome, Outcome):
            return {}
        if outcome.errno is not Errno.OK:
            raise Undone(f"{outcome.errno.name} {outcome.detail}")
        return outcome.outputs

    def new(self, name: str, design: Design = Design.TRACKED, *more: int) -> Tenant:
        """Give a tenant a normal VM, with a canary in each page that is marked; `more` slots (pages)."""
        hv = self.machines.hv
        lpid = self.vmm(hv.create_vm(design, secure_guest=True, radix=True))["lpid"]
        at_hypervisor = self.machines.token(Side.HYPERVISOR, lpid)
        tenant = Tenant(name, lpid, at_hypervisor, self.machines.token(Side.ULTRAVISOR, lpid))
        for slot, pages in enumerate((PAGES, *more)):
            self.vmm(hv.add_slot(lpid, slot, slot * PAGES * PAGE_SIZE, pages * PAGE_SIZE))
            for gfn in MARKED:
                self.mark(tenant, slot * PAGES + gfn)
        return tenant

    def mark_again(self, tenant: Tenant) -> None:
        """Have a guest store its canaries anew: what it is now decides how they read."""
        for gfn in tenant.marked:
            self.mark(tenant, gfn)

    def mark(self, tenant: Tenant, gfn: int) -> None:
        """Have a guest store its canary into a page."""
        tenant.marked[gfn] = canary(tenant.name if tenant.secure else tenant.name.lower(), gfn)
        self.store(tenant, gfn, tenant.marked[gfn])

    def store(self, tenant: Tenant, gfn: int, content: bytes) -> None:
        """Have a guest store bytes at the start of a page."""
        token = tenant.at_ultravisor if tenant.secure else tenant.at_hypervisor
        refused = self.run(token.side, self.machines.store(token, gfn * PAGE_SIZE, content))
        if refused is not None:
            raise Undone(refused.reason)

    def load(self, token: Token, gfn: int, length: int = 32) -> bytes:
        """Have a guest load bytes from the start of a page."""
        seen = self.run(token.side, self.machines.load(token, gfn * PAGE_SIZE, length))
        if isinstance(seen, bytes | memoryview):
            return bytes(seen)
        raise Undone(seen.reason)

    def load_image(self, tenant: Tenant, public_key: bytes) -> GuestImage:
        """Put the image into a normal VM."""
        image = image_for(public_key)
        for gpa, content in image.layout:
            self.vmm(self.machines.hv.host_write(tenant.lpid, gpa, content))
        return image

    def enter(self, tenant: Tenant, public_key: bytes | None = None) -> None:
        """Make a VM secure; raise Undone where UV_ESM does not succeed."""
        image = self.load_image(tenant, public_key or self.machines.uv.machine_key.public_bytes)
        token = self.machines.token(Side.ULTRAVISOR, tenant.lpid)
        reply = self.run(Side.ULTRAVISOR, self.machines.guest_call(token, "UV_ESM", esm_of(image)))
        if not reply.code.succeeded:
            raise Undone(f"{reply.code.name} {reply.detail}")
        tenant.secure, tenant.at_ultravisor = True, self.machines.token(Side.ULTRAVISOR, tenant.lpid)

    def secure(self, tenant: Tenant) -> None:
        """Make a VM secure, with pages of each kind: resident, paged out, shared, shared and taken away."""
        self.enter(tenant)
        for gfn in (*SHARED, *INVALIDATED):
            call = self.machines.guest_call(tenant.at_ultravisor, "UV_SHARE_PAGE", SharePage(Gfn(gfn), 1))
            assert self.run(Side.ULTRAVISOR, call).code.succeeded
        for gfn in MARKED:
            self.mark(tenant, gfn)
        hv = self.machines.hv
        for gfn in OUT:
            self.vmm(hv.host_read(tenant.lpid, gfn * PAGE_SIZE, 8))
        for gfn in INVALIDATED:
            self.vmm(hv.unmap(tenant.lpid, gfn * PAGE_SIZE, 1))


def esm_of(image: GuestImage) -> Esm:
    """Return the UV_ESM of a guest with that image."""
    return Esm(image.kernel_base, image.fdt_address)
