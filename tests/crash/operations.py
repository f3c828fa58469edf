"""The operations that the matrix interrupts: all that guests, the VMM and the host do, each in one scene.

The calls between the two sides are not begun by anybody else: each of the 17 is made inside one of these.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from crash.hello import Steps, introduce
from crash.tenants import (
    INVALIDATED,
    OUT,
    PAGES,
    PLENTY,
    PRIVATE,
    SHARED,
    Host,
    Tenant,
    esm_of,
    image_for,
)
from pef_kit.core.effects import Operation
from pef_protocol.designs import Design
from pef_protocol.events import Side
from pef_protocol.quantities import PAGE_SIZE, Gfn
from pef_protocol.ultracalls import EsmbGetFile, SharePage, UnshareAllPages, UnsharePage
from pef_ultravisor.access import AccessFailure

TIGHT: Final = 484
"""Pages of secure memory: somewhat less than two secure VMs have resident, so that pages must make room."""
MANY: Final = 20
"""Pages of an access that is copied in a thread."""
Begin = Callable[[Host, Tenant], Operation[Any]]


@dataclass(frozen=True, slots=True)
class Interrupted:
    """An operation of `side` by tenant A or on its VM; `secure`: that VM is secure before.

    `call` is the ultracall that the guest makes by it, or nothing. `restarts`: the side that it starts anew.
    """

    name: str
    side: Side
    begin: Callable[[Host, Tenant], Steps[Any]]
    call: str = ""
    secure: bool = True
    design: Design = Design.TRACKED
    secure_pages: int = PLENTY
    prepare: Callable[[Host, Tenant], None] = lambda host, tenant: None
    restarts: Side | None = None

    def fixture(self) -> tuple[Host, list[Tenant]]:
        """Return a new pair with three tenants: A acts, B is secure, C is normal."""
        host = Host(self.secure_pages)
        acting, secure, normal = host.new("A", self.design), host.new("B"), host.new("C")
        if self.secure:
            host.secure(acting)
        else:
            host.load_image(acting, host.machines.uv.machine_key.public_bytes)
        host.secure(secure)
        self.prepare(host, acting)
        host.machines.messages.clear()
        return host, [acting, secure, normal]


def vmm(name: str, begin: Begin, *, secure: bool = True, **more: Any) -> Interrupted:
    """Return a row for an operation of the VMM or the host."""

    def leased(host: Host, tenant: Tenant) -> Operation[Any]:
        return host.machines.leased(Side.HYPERVISOR, begin(host, tenant))

    return Interrupted(name, Side.HYPERVISOR, leased, secure=secure, **more)


def guest(name: str, begin: Begin, **more: Any) -> Interrupted:
    """Return a row for a load or store of a guest under the Ultravisor."""
    return Interrupted(name, Side.ULTRAVISOR, begin, **more)


def call(name: str, request: object, how: str = "") -> Interrupted:
    """Return a row for an ultracall of a guest."""

    def begin(host: Host, tenant: Tenant) -> Operation[Any]:
        return host.machines.guest_call(tenant.at_ultravisor, name, request)

    return Interrupted(name + how, Side.ULTRAVISOR, begin, name)


def esm(how: str, **more: Any) -> Interrupted:
    """Return a row for UV_ESM."""
    return Interrupted(f"UV_ESM{how}", Side.ULTRAVISOR, _enter, "UV_ESM", secure=False, **more)


def starts_anew(side: Side) -> Interrupted:
    """Return a row for a side that starts anew: hello, and the Hypervisor fits the Ultravisor."""

    def begin(host: Host, _: Tenant) -> Steps[None]:
        host.machines.stop(side)
        host.machines.start(side)
        return introduce(host.machines)

    return Interrupted(f"the {side.capitalize()} starts anew", Side.HYPERVISOR, begin, restarts=side)


def _load(gfn: int, length: int = 32) -> Begin:
    return lambda host, tenant: host.machines.load(
        tenant.at_ultravisor if tenant.secure else tenant.at_hypervisor, gfn * PAGE_SIZE, length
    )


def _store(gfn: int, length: int = 32) -> Begin:
    return lambda host, tenant: host.machines.store(
        tenant.at_ultravisor if tenant.secure else tenant.at_hypervisor, gfn * PAGE_SIZE, b"s" * length
    )


def _fill(host: Host, tenant: Tenant) -> None:
    """Have a guest load pages until secure memory is full, but not the one that is loaded then."""
    for gfn in set(range(PAGES)) - {OUT[0]}:
        if not host.machines.uv.free:
            return
        with suppress(AccessFailure):  # the Ultravisor's own bounce pages
            host.load(tenant.at_ultravisor, gfn)
    raise AssertionError


def _second_slot(host: Host, tenant: Tenant) -> None:
    """Give a VM a second slot, with a page that the guest uses."""
    host.vmm(host.machines.hv.add_slot(tenant.lpid, 1, PAGES * PAGE_SIZE, 8 * PAGE_SIZE))
    host.store(tenant, PAGES, b"in the second slot")


def _enter(host: Host, tenant: Tenant) -> Operation[Any]:
    image = image_for(host.machines.uv.machine_key.public_bytes)
    return host.machines.guest_call(tenant.at_ultravisor, "UV_ESM", esm_of(image))


def _spoil(host: Host, tenant: Tenant) -> None:
    """Change a byte of the kernel, which is measured."""
    base = image_for(host.machines.uv.machine_key.public_bytes).kernel_base
    host.vmm(host.machines.hv.host_write(tenant.lpid, base + 100, b"!"))


def _add(host: Host, tenant: Tenant) -> Operation[Any]:
    return host.machines.hv.add_slot(tenant.lpid, 1, PAGES * PAGE_SIZE, 8 * PAGE_SIZE)


def _create(host: Host, _: Tenant) -> Operation[Any]:
    return host.machines.hv.create_vm(Design.TRACKED, secure_guest=True, radix=True)


def _read(gfn: int, pages: int = 1) -> Begin:
    return lambda host, tenant: host.machines.hv.host_read(tenant.lpid, gfn * PAGE_SIZE, pages * PAGE_SIZE)


def _write(gfn: int, pages: int = 1) -> Begin:
    return lambda host, tenant: host.machines.hv.host_write(
        tenant.lpid, gfn * PAGE_SIZE, b"h" * pages * PAGE_SIZE
    )


LARGE: Final = MANY * PAGE_SIZE
FREE: Final = 120
"""First GFN of a range that nobody touched."""
DESIGNS: Final = (Design.TRACKED, Design.TRACKED_PAGEIN, Design.PUSHED_FIXED, Design.EAGER)

OPERATIONS: Final = (
    vmm("create a VM", _create),
    vmm("add a slot", _add),
    vmm("add a slot, pushed-fixed", _add, design=Design.PUSHED_FIXED),
    vmm("remove a slot", lambda host, a: host.machines.hv.remove_slot(a.lpid, 1), prepare=_second_slot),
    vmm("read a private page", _read(PRIVATE[0])),
    vmm("read many pages", _read(PRIVATE[0], MANY)),
    vmm("write a private page", _write(PRIVATE[0])),
    vmm("write many shared and private pages", _write(PRIVATE[0], MANY)),
    vmm("unmap a shared page", lambda host, a: host.machines.hv.unmap(a.lpid, SHARED[0] * PAGE_SIZE, 2)),
    vmm("reset", lambda host, a: host.machines.hv.reset(a.lpid)),
    vmm("destroy", lambda host, a: host.machines.hv.destroy(a.lpid)),
    vmm("destroy a normal VM", lambda host, a: host.machines.hv.destroy(a.lpid), secure=False),
    vmm(
        "remove a slot of a normal VM", lambda host, a: host.machines.hv.remove_slot(a.lpid, 0), secure=False
    ),
    vmm("read many pages of a normal VM", _read(PRIVATE[0], MANY), secure=False),
    vmm("write many pages of a normal VM", _write(PRIVATE[0], MANY), secure=False),
    Interrupted("load of a normal VM", Side.HYPERVISOR, _load(PRIVATE[0], LARGE), secure=False),
    Interrupted("store of a normal VM", Side.HYPERVISOR, _store(PRIVATE[0], LARGE), secure=False),
    guest("load a page that is out", _load(OUT[0])),
    guest("load two pages that are out", _load(OUT[0], 2 * PAGE_SIZE)),
    guest("load a shared page", _load(SHARED[0])),
    guest("load a page that was taken away", _load(INVALIDATED[0])),
    guest("load many pages", _load(PRIVATE[0], 6 * PAGE_SIZE)),
    guest("load a page where secure memory is full", _load(OUT[0]), secure_pages=TIGHT, prepare=_fill),
    guest("store to a page that is out", _store(OUT[0])),
    guest("store to a shared page", _store(SHARED[0])),
    guest("store to a page that was taken away", _store(INVALIDATED[0])),
    guest("store to many pages", _store(FREE, LARGE)),
    call("UV_SHARE_PAGE", SharePage(Gfn(PRIVATE[0]), 1)),
    call("UV_SHARE_PAGE", SharePage(Gfn(PRIVATE[0]), 7), " of pages of each kind"),
    call("UV_UNSHARE_PAGE", UnsharePage(Gfn(SHARED[0]), 1)),
    call("UV_UNSHARE_PAGE", UnsharePage(Gfn(INVALIDATED[0]), 1), " of a page that was taken away"),
    call("UV_UNSHARE_ALL_PAGES", UnshareAllPages()),
    call("UV_ESMB_GET_FILE", EsmbGetFile("disk-key", 0)),
    *[esm(f", {design.value}", design=design) for design in DESIGNS],
    *[esm(f" that fails, {design.value}", design=design, prepare=_spoil) for design in DESIGNS],
    esm(" where secure memory is full", secure_pages=TIGHT),
    *[starts_anew(side) for side in Side],
)
