"""Device trees as plain dictionaries, written and read by the library `fdt`.

A tree is `{path: {property: bytes}}`, in the order it is written. Only this module touches `fdt`,
which ships no types and has habits that are kept in here:

- its trees share one list of reservations unless given their own, and its reader never gives one;
- it guesses what a property's bytes mean; only raw bytes go in and come out here;
- it leaves out a property whose name ends in "_with_references": such a name is refused here.

The lab's trees are a second opinion on the Ultravisor's own reader and writer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import fdt

VERSION = 17
_TOTALSIZE = slice(4, 8)
_PROPERTY_HEADER = 12
_PROPERTY_LENGTH = slice(4, 8)
_LEFT_OUT = "_with_references"


@dataclass(frozen=True, slots=True)
class FlatTree:
    """A whole tree: properties by node path, reservations as (address, size), boot CPU."""

    nodes: Mapping[str, Mapping[str, bytes]]
    reservations: Sequence[tuple[int, int]] = ()
    boot_cpu: int = 0


def write(tree: FlatTree, *, room: int | None = None) -> bytes:
    """Write `tree` as a version 17 blob; with `room`, totalsize is `room` bytes and the rest slack.

    Raises ValueError where the tree doesn't fit, or has a name that the library can't write.
    """
    entries = [{"address": address, "size": size} for address, size in tree.reservations]
    library_tree = fdt.FDT(entries=entries)
    for path, properties in tree.nodes.items():
        node = library_tree.get_node(path, create=True)
        for name, value in properties.items():
            if name.endswith(_LEFT_OUT):
                message = f"property {name}: the library would leave it out"
                raise ValueError(message)
            node.append(fdt.PropBytes(name, data=value))
    blob = bytes(library_tree.to_dtb(version=VERSION, boot_cpuid_phys=tree.boot_cpu))
    if room is None:
        return blob
    if len(blob) > room:
        message = f"a device tree of {len(blob)} bytes doesn't fit into {room}"
        raise ValueError(message)
    padded = bytearray(blob.ljust(room, b"\0"))
    padded[_TOTALSIZE] = room.to_bytes(4)
    return bytes(padded)


def read(blob: bytes) -> FlatTree:
    """Read a tree that the lab trusts; `fdt` raises whatever it likes on any other."""
    fdt.FDT().entries.clear()
    library_tree = fdt.parse_dtb(blob)
    reservations = [(entry["address"], entry["size"]) for entry in library_tree.entries]
    nodes: dict[str, dict[str, bytes]] = {}
    _collect(library_tree.root, "/", nodes)
    return FlatTree(nodes, reservations, library_tree.header.boot_cpuid_phys)


def _collect(node: Any, path: str, nodes: dict[str, dict[str, bytes]]) -> None:
    nodes[path] = {part.name: _raw(part) for part in node.props}
    for child in node.nodes:
        _collect(child, f"{path.rstrip('/')}/{child.name}", nodes)


def _raw(part: Any) -> bytes:
    blob, _, _ = part.to_dtb("")
    length = int.from_bytes(blob[_PROPERTY_LENGTH])
    return bytes(blob[_PROPERTY_HEADER : _PROPERTY_HEADER + length])


def cell32(number: int) -> bytes:
    """Return `number` as one cell of 4 bytes."""
    return number.to_bytes(4)


def cell64(number: int) -> bytes:
    """Return `number` as 8 bytes: two cells, high one first."""
    return number.to_bytes(8)


def text(content: str) -> bytes:
    """Return `content` as UTF-8, ended by a NUL."""
    return content.encode() + b"\0"
