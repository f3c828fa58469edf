"""Guest images that are not what they should be: tampered with, or described by a tree that misleads."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pef_lab.image import GuestImage, flat_tree


def tampered(image: GuestImage, part: str, at: int = 5) -> GuestImage:
    """Return an image with one bit of one part flipped, at byte `at`."""
    content = bytearray(getattr(image, part))
    content[at] ^= 1
    changed: dict[str, Any] = {part: bytes(content)}
    return replace(image, **changed)


def with_tree(image: GuestImage, nodes: Mapping[str, Mapping[str, bytes]]) -> GuestImage:
    """Return an image whose device tree has properties (by node) in place of its own."""
    tree = flat_tree.read(image.device_tree)
    changed = {path: {**found, **nodes.get(path, {})} for path, found in tree.nodes.items()}
    written = flat_tree.write(replace(tree, nodes=changed), room=len(image.device_tree))
    return replace(image, device_tree=written)


def with_header(image: GuestImage, at: int, cell: int) -> GuestImage:
    """Return an image whose device tree has another 32-bit cell in its header, at byte `at`."""
    tree = bytearray(image.device_tree)
    tree[at : at + 4] = flat_tree.cell32(cell)
    return replace(image, device_tree=bytes(tree))
