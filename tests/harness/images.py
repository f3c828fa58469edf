"""Guest images for tests of UV_ESM: a VM ready to call it, and what can be wrong with its device tree.

The pages of the image, by GFN (the VM has 256, all in slot 0):

    16 device tree    32 RTAS    64-67 kernel    68-69 initrd    70 ESM blob
    249 bounce page of the TPM   250-255 bounce pages of RTAS
"""

import random
from dataclasses import replace
from typing import Final

from harness.scripted_hypervisor import ScriptedHypervisor, guest
from harness.ultravisor_fixtures import LPID, machine
from pef_kit.core.effects import Operation
from pef_lab.image import GuestImage, build_image
from pef_protocol.calls import Reply
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, Gpa
from pef_protocol.runs import PageRuns
from pef_protocol.ultracalls import Esm
from pef_ultravisor.boot.device_tree import DeviceTree, pack, parse
from pef_ultravisor.boot.device_tree_nodes import Node
from pef_ultravisor.from_guest.esm import uv_esm

PAGES: Final = 256
FDT, RTAS, KERNEL, INITRD, BLOB, TPM_BOUNCE, RTAS_BOUNCE = 16, 32, 64, 68, 70, 249, 250
FILES: Final = {"disk-key": bytes(range(100)), "empty": b""}
BOOTARGS: Final = "console=hvc0 quiet"
UNMIGRATED: Final = {8: b"left over low", 200: b"left over high"}
"""Pages of the VM that are no part of the image, by GFN."""


def image_for(public_key: bytes, seed: int = 1) -> GuestImage:
    """Build the image for the machine of that key."""
    return build_image(
        memory_size=PAGES << PAGE_ORDER,
        machine_public_key=public_key,
        bootargs=BOOTARGS,
        files=FILES,
        seed=seed,
        kernel_size=200_000,
        initrd_size=100_000,
        entropy=random.Random(seed).randbytes,
    )


IMAGE: Final = image_for(machine().uv.machine_key.public_bytes)


def guest_vm(secure_pages: int = 512, *slots: tuple[int, int, int]) -> ScriptedHypervisor:
    """Return a machine with a normal VM in which the image lies, and some bytes more."""
    hv = machine(secure_pages)
    hv.new_vm(LPID, *(slots or ((0, 0, PAGES),)))
    for gpa, content in IMAGE.layout:
        write(hv, gpa, content)
    for gfn, content in UNMIGRATED.items():
        write(hv, gfn << PAGE_ORDER, content)
    return hv


def write(hv: ScriptedHypervisor, gpa: int, content: bytes) -> None:
    """Write into the normal VM's memory, page by page."""
    while content:
        gfn, offset = divmod(gpa, PAGE_SIZE)
        part = content[: PAGE_SIZE - offset]
        hv.fill(hv.ra(LPID, gfn) + offset, part)
        gpa, content = gpa + len(part), content[len(part) :]


def describe(hv: ScriptedHypervisor, tree: DeviceTree) -> None:
    """Replace the VM's device tree."""
    hv.fill(hv.ra(LPID, FDT), pack(tree, least=PAGE_SIZE))


def memory_of(hv: ScriptedHypervisor) -> list[bytes]:
    """Return the VM's normal pages, by GFN."""
    return [hv.page(hv.ra(LPID, gfn)) for gfn in range(PAGES)]


REQUEST: Final = Esm(IMAGE.kernel_base, IMAGE.fdt_address)


def esm(hv: ScriptedHypervisor, kernel_base: int = REQUEST.kernel_base, fdt: int = REQUEST.fdt) -> Reply:
    """Call UV_ESM as the VM's kernel."""
    return hv.ultracall(Esm(Gpa(kernel_base), Gpa(fdt)), guest(LPID))


def esm_operation(hv: ScriptedHypervisor) -> Operation[Reply]:
    """Return UV_ESM as an operation that has not begun."""
    return uv_esm(hv.uv, guest(LPID), REQUEST)


def spans(runs: PageRuns) -> list[tuple[int, int]]:
    """Return page runs as (first GFN, pages)."""
    return [(gpa >> PAGE_ORDER, count) for gpa, count in runs]


def image_tree() -> DeviceTree:
    """Return the image's device tree."""
    return parse(IMAGE.device_tree)


def with_property(tree: DeviceTree, child: str, name: str, value: bytes | None) -> DeviceTree:
    """Return the tree with one property of a child of the root set, or taken away."""

    def changed(node: Node) -> Node:
        properties = {key: kept for key, kept in node.properties.items() if key != name}
        return replace(node, properties=properties if value is None else {**properties, name: value})

    children = tuple(changed(node) if node.name == child else node for node in tree.root.children)
    return replace(tree, root=replace(tree.root, children=children))


def cell32(number: int) -> bytes:
    """Return a 32-bit cell."""
    return number.to_bytes(4, "big")


def cell64(number: int) -> bytes:
    """Return two cells that are one 64-bit number."""
    return number.to_bytes(8, "big")
