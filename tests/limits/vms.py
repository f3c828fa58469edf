"""Large VMs of a measured pair: hundreds of gibibytes that nobody touched."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx

from limits.pair_on_one_loop import GIB, Longest, MeasuredPair
from pef_kit.runtime.connections import client_of
from pef_lab.endpoint import Endpoint
from pef_lab.guest import Guest
from pef_lab.image import build_image
from pef_lab.vmm import Vmm
from pef_lab.watch import Watch
from pef_protocol.designs import Design
from pef_protocol.http import EPOCH, EPOCH_PATH, HYPERCALL_PATH, OBSERVER_PATH, OCTETS, ULTRACALL_PATH
from pef_protocol.quantities import PAGE_SIZE, Lpid

SIZE: Final = 128 * GIB
FREE: Final = GIB // PAGE_SIZE
"""From this GFN on a VM's memory is its guest's own: the image lies below."""
TIMEOUT: Final = 120.0
PIECE: Final = 1 << 18


@dataclass(slots=True)
class LargeVm:
    """A VM and all who may speak for it."""

    pair: MeasuredPair
    vmm: Vmm
    guest: Guest
    lpid: Lpid
    visors: dict[str, httpx.AsyncClient]
    epoch: str
    entering: Longest
    """The longest callback until the VM was as it is."""

    async def call(self, name: str, body: bytes, **query: int) -> httpx.Response:
        """Make a call as the visor whose it is: JSON without `query`, octets of runs with it."""
        ultracall = name.startswith("UV_")
        path = (ULTRACALL_PATH if ultracall else HYPERCALL_PATH) + name
        headers = {"content-type": OCTETS if query else "application/json", EPOCH: self.epoch}
        client = self.visors["hypervisor" if ultracall else "ultravisor"]
        headers["content-length"] = str(len(body))
        headers["expect"] = "100-continue"  # what is refused unread need not be sent
        return await client.post(path, content=in_pieces(body), params=query, headers=headers)


async def in_pieces(body: bytes) -> AsyncIterator[bytes]:
    """Yield a body piece by piece."""
    for start in range(0, len(body), PIECE):
        yield body[start : start + PIECE]


@asynccontextmanager
async def large_vm(
    pair: MeasuredPair, design: Design = Design.TRACKED, *, secure: bool = True, size: int = SIZE
) -> AsyncIterator[LargeVm]:
    """Create a VM of `size` bytes, load its image, and make it secure if so asked; destroy it at the end."""
    endpoints = pair.endpoints
    visors = {
        "hypervisor": client_of(
            endpoints.ultravisor_url, endpoints.hypervisor_token, connections=4, timeout=TIMEOUT
        ),
        "ultravisor": client_of(
            endpoints.hypervisor_url, endpoints.ultravisor_token, connections=4, timeout=TIMEOUT
        ),
    }
    epoch = (await visors["hypervisor"].get(EPOCH_PATH)).json()["epoch"]
    async with Vmm(endpoints) as vmm, Watch(endpoints) as watch:
        image = build_image(
            memory_size=size,
            machine_public_key=await watch.machine_public_key(),
            bootargs="quiet",
            files={"disk-key": secrets.token_bytes(100)},
            seed=7,
            kernel_size=3 * PAGE_SIZE,
            initrd_size=2 * PAGE_SIZE,
        )
        lpid = await vmm.create(design)
        try:
            await vmm.plug(lpid, 0, 0, size)
            for piece in image.layout:
                await vmm.write(lpid, piece.gpa, piece.content)
            async with Guest(endpoints, lpid) as guest:
                if secure:
                    reply: Any = await guest.enter_secure_mode(image.kernel_base, image.fdt_address)
                    assert reply.code.succeeded, reply
                yield LargeVm(pair, vmm, guest, lpid, visors, epoch, pair.meter.read_both())
        finally:
            for client in visors.values():
                await client.aclose()
            await vmm.destroy(lpid)


VIEWS: Final = ("vms", "digest", "invariants", "gfns")


async def longest_callbacks(pair: MeasuredPair, size: int) -> dict[str, Longest]:
    """Lead a VM of `size` bytes through its life; return the longest callback of each step."""
    took: dict[str, Longest] = {}
    urls = pair.endpoints.ultravisor_url, pair.endpoints.hypervisor_url
    pair.meter.read()
    async with large_vm(pair, size=size) as vm:
        took["create, boot, UV_ESM"] = vm.entering
        for name, url in zip(("Ultravisor", "Hypervisor"), urls, strict=True):
            async with Endpoint(name, url, pair.endpoints.observer_token) as endpoint:
                for view in VIEWS:
                    await endpoint.view(OBSERVER_PATH + view, lpid=vm.lpid)
                    took[f"{view} of the {name}"] = pair.meter.read_both()
        await vm.guest.unshare_all()
        took["unshare all"] = pair.meter.read_both()
        await vm.vmm.unmap(vm.lpid, 0, size // PAGE_SIZE)
        took["unmap"] = pair.meter.read_both()
        await vm.vmm.unplug(vm.lpid, 0)
        took["unplug"] = pair.meter.read_both()
        await vm.vmm.plug(vm.lpid, 0, 0, size)
        took["plug"] = pair.meter.read_both()
        await vm.vmm.reset(vm.lpid)
        took["reset"] = pair.meter.read_both()
    took["destroy"] = pair.meter.read_both()
    return took
