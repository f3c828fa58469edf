"""The operations during which a service is killed: together they make every call between the two."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from crash.http_tenants import OUT, PRIVATE, SHARED, TAKEN, HttpHost, HttpTenant
from crash.tenants import PAGES, image_for
from pef_lab.failures import Refusal
from pef_protocol.designs import Design
from pef_protocol.events import Side
from pef_protocol.quantities import PAGE_SIZE
from pef_protocol.ultracalls import EsmbGetFile

Act = Callable[[HttpHost, HttpTenant], Awaitable[object]]
PLENTY: Final = 2048 * PAGE_SIZE
"""Bytes of secure memory with which no page has to make room."""
TIGHT: Final = 470 * PAGE_SIZE
"""Bytes of secure memory that two secure VMs fill."""


@dataclass(frozen=True, slots=True)
class HttpOperation:
    """An operation on tenant A's VM; `secure`: that VM is secure before. `mapped`: see `killable_pair`.

    `restarts`: the side that it starts anew.
    """

    name: str
    act: Act
    secure: bool = True
    mapped: bool = True
    secure_memory: int = PLENTY
    prepare: Act | None = None
    restarts: Side | None = None


async def _second_slot(host: HttpHost, tenant: HttpTenant) -> None:
    await host.pair.vmm.plug(tenant.guest.lpid, 1, PAGES * PAGE_SIZE, 8 * PAGE_SIZE)
    await tenant.guest.store(PAGES * PAGE_SIZE, b"in the second slot")


async def _enter(host: HttpHost, tenant: HttpTenant) -> object:
    image = image_for(await host.pair.public_key())
    return await tenant.guest.enter_secure_mode(image.kernel_base, image.fdt_address)


async def _spoil(host: HttpHost, tenant: HttpTenant) -> None:
    image = image_for(await host.pair.public_key())
    await host.pair.vmm.write(tenant.guest.lpid, image.kernel_base + 100, b"!")


async def _fill(host: HttpHost, tenant: HttpTenant) -> None:
    """Have the guest load pages until secure memory is full, but not the one that is loaded then."""
    for gfn in set(range(PAGES)) - {OUT}:
        pool: dict[str, int] = (await host.pair.view(Side.ULTRAVISOR, "vms"))["pool"]
        if pool["used"] == pool["size"]:
            return
        with suppress(Refusal):  # the Ultravisor's own bounce pages
            await tenant.load(gfn)
    raise AssertionError


def _load(gfn: int) -> Act:
    return lambda _, tenant: tenant.guest.load(gfn * PAGE_SIZE, 32)


def _store(gfn: int) -> Act:
    return lambda _, tenant: tenant.guest.store(gfn * PAGE_SIZE, b"s" * 32)


async def _get_file(_: HttpHost, tenant: HttpTenant) -> object:
    return await tenant.guest.ultravisor.call("UV_ESMB_GET_FILE", EsmbGetFile("disk-key", 0), once=True)


def _start_anew(side: Side) -> Act:
    return lambda host, _: host.pair.start_anew(side)


HTTP_OPERATIONS: Final = (
    HttpOperation("create a VM", lambda host, _: host.pair.vmm.create(Design.TRACKED)),
    HttpOperation(
        "add a slot", lambda host, a: host.pair.vmm.plug(a.guest.lpid, 1, PAGES * PAGE_SIZE, PAGE_SIZE)
    ),
    HttpOperation(
        "remove a slot", lambda host, a: host.pair.vmm.unplug(a.guest.lpid, 1), prepare=_second_slot
    ),
    HttpOperation(
        "read a private page", lambda host, a: host.pair.vmm.read(a.guest.lpid, PRIVATE * PAGE_SIZE, 8)
    ),
    HttpOperation(
        "read a private page, bus over HTTP",
        lambda host, a: host.pair.vmm.read(a.guest.lpid, PRIVATE * PAGE_SIZE, 8),
        mapped=False,
    ),
    HttpOperation(
        "unmap a shared page", lambda host, a: host.pair.vmm.unmap(a.guest.lpid, SHARED * PAGE_SIZE, 1)
    ),
    HttpOperation("reset", lambda host, a: host.pair.vmm.reset(a.guest.lpid)),
    HttpOperation("destroy", lambda host, a: host.pair.vmm.destroy(a.guest.lpid)),
    HttpOperation("load a page that is out", _load(OUT)),
    HttpOperation("load a page that is out, bus over HTTP", _load(OUT), mapped=False),
    HttpOperation("load a page that was taken away", _load(TAKEN)),
    HttpOperation("load a shared page, bus over HTTP", _load(SHARED), mapped=False),
    HttpOperation("store to a shared page, bus over HTTP", _store(SHARED), mapped=False),
    HttpOperation("load a page where secure memory is full", _load(OUT), secure_memory=TIGHT, prepare=_fill),
    HttpOperation("UV_SHARE_PAGE", lambda _, a: a.guest.share(PRIVATE, 2)),
    HttpOperation("UV_UNSHARE_PAGE", lambda _, a: a.guest.unshare(SHARED, 1)),
    HttpOperation("UV_UNSHARE_ALL_PAGES", lambda _, a: a.guest.unshare_all()),
    HttpOperation("UV_ESMB_GET_FILE", _get_file),
    HttpOperation("UV_ESM", _enter, secure=False),
    HttpOperation("UV_ESM that fails", _enter, secure=False, prepare=_spoil),
    *[
        HttpOperation(f"the {side.capitalize()} starts anew", _start_anew(side), restarts=side)
        for side in Side
    ],
)
