"""UV_ESM with device trees as Linux's boot stub and others write them: the guest finds its tree."""

from dataclasses import replace

import pytest

from harness.images import (
    BOOTARGS,
    IMAGE,
    REQUEST,
    cell32,
    cell64,
    esm,
    guest_vm,
    image_tree,
    with_property,
    write,
)
from harness.scripted_hypervisor import ScriptedHypervisor
from harness.tree_layouts import LINUX, ORDERS, Layout, laid_out
from harness.ultravisor_fixtures import LPID, sound
from pef_protocol.codes import UCode
from pef_protocol.quantities import PAGE_SIZE
from pef_ultravisor.boot.device_tree import DeviceTree, Node, pack, parse, totalsize

LAYOUTS = {
    "Linux": LINUX,
    "Linux with pages of 64 KiB": replace(LINUX, edge=PAGE_SIZE, slack=PAGE_SIZE - 1),
    **{
        f"version {version}, blocks {order}": Layout(order=order, version=version, slack=32, size_cell=7)
        for order in ORDERS
        for version in (16, 17, 18)
    },
}


def becomes_secure(hv: ScriptedHypervisor, tree: DeviceTree, written: bytes, fdt: int = REQUEST.fdt) -> bytes:
    """Make UV_ESM with `tree` as it was `written`; return it as the guest finds it."""
    write(hv, fdt, written)
    reply = esm(hv, fdt=fdt)
    assert reply.code is UCode.U_SUCCESS, reply
    header = hv.load(LPID, fdt, 40)
    found = hv.load(LPID, fdt, totalsize(header))
    read = parse(found)
    assert read.root == tree.root
    assert read.reservations[:-2] == tree.reservations
    assert sound(hv)
    return found


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout(layout: Layout) -> None:
    written = laid_out(image_tree(), layout)
    assert len(becomes_secure(guest_vm(), image_tree(), written)) == len(written)


def test_numbers_of_one_cell_and_memory_of_several_ranges() -> None:
    tree = image_tree()
    chosen, memory = tree.node("/chosen"), tree.node("/memory@0").value("reg")
    for name in ("initrd-start", "initrd-end", "esm-blob-start", "esm-blob-end"):
        tree = with_property(tree, "chosen", f"linux,{name}", cell32(chosen.cell64(f"linux,{name}")))
    tree = with_property(tree, "memory@0", "reg", cell64(1 << 40) + cell64(1 << 30) + memory)
    more = Node("memory@20000000000", {"device_type": b"memory\0", "reg": cell64(2 << 40) + cell64(1 << 30)})
    tree = replace(tree, root=replace(tree.root, children=(more, *tree.root.children)))
    becomes_secure(guest_vm(), tree, laid_out(tree, LINUX))


def test_a_tree_without_slack_in_a_page_that_has_room() -> None:
    written = pack(image_tree())
    found = becomes_secure(guest_vm(), image_tree(), written)
    assert len(found) == len(written) + 32


def test_a_tree_over_several_pages_with_names_of_any_bytes() -> None:
    root = image_tree().root
    odd = Node("l2 cache,\xe4\udcff", {"\udc80/": b"1", "#big": bytes(3 * PAGE_SIZE)})
    tree = replace(image_tree(), root=replace(root, children=(*root.children, odd, odd)))
    fdt = IMAGE.fdt_address + PAGE_SIZE + 8
    found = becomes_secure(guest_vm(), tree, laid_out(tree, LINUX), fdt)
    assert parse(found).node("/chosen").text("bootargs") == BOOTARGS
