"""What a device tree may say of the guest image, and what can't be."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.images import cell32, cell64, with_property
from harness.tree_layouts import Layout, laid_out, layouts
from pef_lab.image import build_image
from pef_protocol.quantities import Gpa
from pef_protocol.ultracalls import Esm
from pef_ultravisor.boot.device_tree import (
    DeviceTree,
    MalformedDeviceTree,
    Node,
    Reservation,
    pack,
    parse,
    totalsize,
)
from pef_ultravisor.boot.device_tree import with_property as tree_property
from pef_ultravisor.boot.device_tree_nodes import Flaw
from pef_ultravisor.boot.image import MAX_CPUS, RMO_LIMIT, BootPlan, EsmFailure, Extent, GuestImage
from pef_ultravisor.machine_key import MachineKey

MIB = 1 << 20
PAGE = 1 << 16
KEY = MachineKey.generate(bytes(32))
BUILT = build_image(
    memory_size=16 * MIB, machine_public_key=KEY.public_bytes, bootargs="quiet", files={}, seed=1
)
TREE = parse(BUILT.device_tree)


def test_reads_what_the_builder_wrote() -> None:
    image = GuestImage.of(TREE)
    assert image.memory_end == 16 * MIB
    assert image.rtas == Extent(BUILT.rtas_address, len(BUILT.rtas))
    assert image.initrd == Extent(BUILT.initrd_address, len(BUILT.initrd))
    assert image.esm_blob == Extent(BUILT.esm_blob_address, len(BUILT.esm_blob))
    assert image.bootargs == b"quiet"
    assert image.reservations == TREE.reservations


def test_reserves_below_the_limit_of_real_mode() -> None:
    huge = with_property(TREE, "memory@0", "reg", cell64(0) + cell64(1 << 40))
    assert GuestImage.of(huge).memory_end == RMO_LIMIT


cells = st.integers(1, 4)
others = st.lists(st.tuples(st.integers(1, (1 << 32) - 1), st.integers(0, (1 << 32) - 1)), max_size=3)
"""Ranges of memory that don't begin at 0: address and size."""


@st.composite
def descriptions(draw: st.DrawFn) -> DeviceTree:
    """Draw a tree that says of the image what `TREE` does, with other cells, nodes and properties."""
    addresses, sizes = draw(cells), draw(cells)

    def range_of(address: int, size: int) -> bytes:
        return address.to_bytes(4 * addresses) + size.to_bytes(4 * sizes)

    def number(size: int) -> bytes:
        return size.to_bytes(draw(st.sampled_from([4, 8])))

    ranges = [range_of(0, 16 * MIB), *(range_of(*each) for each in draw(others))]
    parts = draw(st.permutations(ranges))
    apart = draw(st.integers(0, len(parts)))
    memory = [
        Node(draw(st.sampled_from(["memory@0", "memory", "memory@8000"])), {"reg": b"".join(held)})
        for held in (parts[:apart], parts[apart:])
        if held
    ]
    initrd, blob = BUILT.initrd_address, BUILT.esm_blob_address
    chosen = {
        "linux,initrd-start": number(initrd),
        "linux,initrd-end": number(initrd + len(BUILT.initrd)),
        "linux,esm-blob-start": number(blob),
        "linux,esm-blob-end": number(blob + len(BUILT.esm_blob)),
        "bootargs": b"quiet" + bytes(draw(st.integers(1, 5))),
    }
    rtas = {"linux,rtas-base": number(BUILT.rtas_address), "rtas-size": number(len(BUILT.rtas))}
    nodes = [
        *memory,
        Node("chosen", chosen),
        Node(draw(st.sampled_from(["rtas", "rtas@0"])), rtas),
        Node("memory-controller@0", {"reg": b"1"}),
        Node("cpus", {"#address-cells": bytes(4)}),
    ]
    root = {"#address-cells": addresses.to_bytes(4), "#size-cells": sizes.to_bytes(4)}
    left_out = {"#address-cells"} if addresses == 2 else set()  # the default of the format
    left_out |= {"#size-cells"} if sizes == 1 else set()
    kept = {name: value for name, value in root.items() if name not in left_out or draw(st.booleans())}
    return DeviceTree(Node("", kept, tuple(draw(st.permutations(nodes)))), TREE.reservations)


@given(descriptions(), layouts)
def test_reads_the_same_image_from_every_description_and_layout(tree: DeviceTree, layout: Layout) -> None:
    assert GuestImage.of(parse(laid_out(tree, layout))) == GuestImage.of(TREE)


@given(descriptions(), layouts)
def test_edits_every_layout_so_that_it_says_the_same(tree: DeviceTree, layout: Layout) -> None:
    given_tree = laid_out(tree, layout)
    plan = BootPlan.of(Esm(BUILT.kernel_base, BUILT.fdt_address), given_tree)
    edited = parse(plan.edited_tree)
    kept = [Reservation(extent.start, extent.size) for extent in plan.bounce]
    assert edited == replace(tree, reservations=(*tree.reservations, *kept))
    assert len(plan.edited_tree) == len(given_tree) + plan.added.size == totalsize(plan.edited_tree)
    assert [extent.start for extent in plan.bounce] == [16 * MIB - 6 * PAGE, 16 * MIB - 7 * PAGE]


def exact(start: int = BUILT.fdt_address) -> tuple[Esm, bytes]:
    """Return a tree that has no slack, to lie at `start`."""
    return Esm(BUILT.kernel_base, Gpa(start)), pack(TREE)


def test_a_tree_without_slack_grows_into_the_rest_of_its_last_page() -> None:
    asked, tree = exact()
    plan = BootPlan.of(asked, tree)
    assert plan.added == Extent(BUILT.fdt_address + len(tree), 32)
    assert len(parse(plan.edited_tree).reservations) == len(TREE.reservations) + 2


@pytest.mark.parametrize("free", [32, 31])
def test_a_tree_grows_as_far_as_its_page_goes(free: int) -> None:
    _, tree = exact()
    asked, _ = exact(BUILT.fdt_address + PAGE - len(tree) - free)
    if free == 32:
        assert BootPlan.of(asked, tree).added.size == 32
        return
    with pytest.raises(MalformedDeviceTree) as raised:
        BootPlan.of(asked, tree)
    assert raised.value.reason is Flaw.ROOM


@pytest.mark.parametrize("name", ["linux,initrd", "linux,esm-blob"])
def test_a_tree_does_not_grow_into_what_follows_it(name: str) -> None:
    asked, tree = exact()
    start = BUILT.fdt_address + len(tree) + 16
    followed = with_property(TREE, "chosen", f"{name}-start", cell64(start))
    followed = with_property(followed, "chosen", f"{name}-end", cell64(start + 100))
    with pytest.raises(MalformedDeviceTree) as raised:
        BootPlan.of(asked, pack(followed))
    assert raised.value.reason is Flaw.ROOM


def test_a_tree_in_a_measured_part_may_not_grow_there() -> None:
    asked, tree = exact()
    plan = BootPlan.of(asked, tree)
    with pytest.raises(EsmFailure, match="no room for the reservations"):
        plan.keep_out_of(Extent(BUILT.fdt_address, PAGE))
    plan.keep_out_of(Extent(BUILT.fdt_address + PAGE, PAGE))
    filled = BootPlan.of(asked, pack(TREE, least=PAGE))
    filled.keep_out_of(Extent(BUILT.fdt_address, 2 * PAGE))


def test_as_many_reservations_as_a_tree_can_have_are_avoided() -> None:
    pages = [Reservation(page * PAGE, PAGE) for page in range(256)]
    many = replace(TREE, reservations=tuple(pages * 200))
    with pytest.raises(EsmFailure, match="no room"):
        BootPlan.of(exact()[0], pack(many, least=1 << 20))
    hole = replace(
        TREE, reservations=tuple(kept for kept in pages * 200 if not 100 <= kept.address // PAGE < 107)
    )
    plan = BootPlan.of(exact()[0], pack(hole, least=1 << 20))
    assert [extent.start for extent in plan.bounce] == [101 * PAGE, 100 * PAGE]


REFUSED: dict[str, tuple[Flaw, Callable[[], DeviceTree]]] = {
    "memory that does not begin at 0": (
        Flaw.VALUE,
        lambda: with_property(TREE, "memory@0", "reg", cell64(PAGE) + cell64(16 * MIB)),
    ),
    "a boot cpu beyond all": (Flaw.VALUE, lambda: replace(TREE, boot_cpu=MAX_CPUS)),
    "an initrd that ends before it starts": (
        Flaw.VALUE,
        lambda: with_property(TREE, "chosen", "linux,initrd-end", cell64(1)),
    ),
    "a blob that ends before it starts": (
        Flaw.VALUE,
        lambda: with_property(TREE, "chosen", "linux,esm-blob-end", cell64(1)),
    ),
    "no initrd": (Flaw.ABSENT, lambda: with_property(TREE, "chosen", "linux,initrd-start", None)),
    "no blob": (Flaw.ABSENT, lambda: with_property(TREE, "chosen", "linux,esm-blob-start", None)),
    "no RTAS": (Flaw.ABSENT, lambda: with_property(TREE, "rtas", "rtas-size", None)),
    "no bootargs": (Flaw.ABSENT, lambda: with_property(TREE, "chosen", "bootargs", None)),
    "half a reg": (Flaw.SIZE, lambda: with_property(TREE, "memory@0", "reg", cell64(0))),
    "a reg of nothing": (Flaw.SIZE, lambda: with_property(TREE, "memory@0", "reg", b"")),
    "no reg": (Flaw.ABSENT, lambda: with_property(TREE, "memory@0", "reg", None)),
    "memory of no size": (Flaw.VALUE, lambda: with_property(TREE, "memory@0", "reg", bytes(16))),
    "no memory": (
        Flaw.ABSENT,
        lambda: replace(TREE, root=replace(TREE.root, children=TREE.root.children[1:])),
    ),
    "addresses of 5 cells": (Flaw.VALUE, lambda: tree_property(TREE, "/", "#address-cells", cell32(5))),
    "sizes of no cell": (Flaw.VALUE, lambda: tree_property(TREE, "/", "#size-cells", cell32(0))),
    "cells of 2 bytes": (Flaw.SIZE, lambda: tree_property(TREE, "/", "#size-cells", b"\0\2")),
    "an initrd of three cells": (
        Flaw.SIZE,
        lambda: with_property(TREE, "chosen", "linux,initrd-start", bytes(12)),
    ),
    "an RTAS area of 2 bytes": (Flaw.SIZE, lambda: with_property(TREE, "rtas", "rtas-size", b"\0\1")),
    "bootargs without an end": (Flaw.TEXT, lambda: with_property(TREE, "chosen", "bootargs", b"quiet")),
    "bootargs that go on": (Flaw.TEXT, lambda: with_property(TREE, "chosen", "bootargs", b"quiet\0root\0")),
}


@pytest.mark.parametrize(("flaw", "tree"), REFUSED.values(), ids=REFUSED)
def test_refuses(flaw: Flaw, tree: Callable[[], DeviceTree]) -> None:
    with pytest.raises(MalformedDeviceTree) as raised:
        GuestImage.of(tree())
    assert raised.value.reason is flaw


@pytest.mark.parametrize(("value", "text"), [(b"", b""), (b"\0", b""), (b"\xff \xe4\0", b"\xff \xe4")])
def test_bootargs_are_bytes_up_to_their_nul(value: bytes, text: bytes) -> None:
    assert GuestImage.of(with_property(TREE, "chosen", "bootargs", value)).bootargs == text


@pytest.mark.parametrize(
    ("extent", "pages"),
    [
        (Extent(0, 1), Extent(0, PAGE)),
        (Extent(PAGE - 1, 2), Extent(0, 2 * PAGE)),
        (Extent(PAGE, PAGE), Extent(PAGE, PAGE)),
        (Extent(PAGE, 0), Extent(PAGE, 0)),
    ],
)
def test_whole_pages_of_an_extent(extent: Extent, pages: Extent) -> None:
    assert extent.pages == pages


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        (Extent(0, 4), Extent(4, 4), False),
        (Extent(0, 5), Extent(4, 4), True),
        (Extent(4, 4), Extent(0, 16), True),
    ],
)
def test_overlap(one: Extent, other: Extent, overlap: bool) -> None:
    assert one.overlaps(other) is other.overlaps(one) is overlap
