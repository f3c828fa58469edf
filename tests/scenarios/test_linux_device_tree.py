"""The device tree that a Linux guest hands over at UV_ESM, on a real pair."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from harness.live import LivePair, live_pair
from harness.live_vm import FREE, live_vm
from harness.tree_layouts import LINUX, laid_out
from pef_lab.image import GuestImage
from pef_protocol.quantities import PAGE_SIZE
from pef_ultravisor.boot.device_tree import parse, totalsize

pytestmark = pytest.mark.sockets

LINUX_64K = replace(LINUX, edge=PAGE_SIZE, slack=PAGE_SIZE - 1)


@pytest.fixture(scope="module")
async def pair() -> AsyncIterator[LivePair]:
    """Start a pair."""
    async with live_pair() as running:
        yield running


def as_linux_writes(image: GuestImage) -> GuestImage:
    """Return an image whose tree has version 16, and its strings before its structure."""
    return replace(image, device_tree=laid_out(parse(image.device_tree), LINUX_64K))


async def test_a_tree_of_version_16_with_its_strings_first(pair: LivePair) -> None:
    """Given a VM whose device tree Linux's boot stub wrote, over three pages.

    When it calls UV_ESM,
    then it becomes secure, and finds its image, and the tree with the bounce pages reserved.
    """
    async with live_vm(pair, change=as_linux_writes) as vm:
        await vm.boot()
        await vm.image_is_whole()
        written = vm.image.device_tree
        found = await vm.guest.load(vm.image.fdt_address, len(written))
        before, after = parse(written), parse(found)
        assert totalsize(found) == len(written) > 2 * PAGE_SIZE
        assert after.root == before.root
        assert len(after.reservations) == len(before.reservations) + 2
        await vm.write(FREE)
        await vm.reads_what_it_wrote()
    assert await pair.broken() == []
