"""What a device tree may say of the guest image, and what can't be."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from harness.images import cell64, with_property
from pef_lab.image import build_image
from pef_ultravisor.boot.device_tree import DeviceTree, MalformedDeviceTree, parse
from pef_ultravisor.boot.device_tree_nodes import Flaw
from pef_ultravisor.boot.image import MAX_CPUS, RMO_LIMIT, Extent, GuestImage
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
}


@pytest.mark.parametrize(("flaw", "tree"), REFUSED.values(), ids=REFUSED)
def test_refuses(flaw: Flaw, tree: Callable[[], DeviceTree]) -> None:
    with pytest.raises(MalformedDeviceTree) as raised:
        GuestImage.of(tree())
    assert raised.value.reason is flaw


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
