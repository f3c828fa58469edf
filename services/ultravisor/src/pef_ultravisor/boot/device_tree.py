"""Flattened device trees: the writer, and the one door to reader and nodes.

    tree = device_tree.parse(blob)
    kernel_arguments = tree.node("/chosen").text("bootargs")
    edited = device_tree.with_reservations(tree, [Reservation(address, size)])
    blob = device_tree.pack(edited, least=device_tree.totalsize(blob))

Source: Devicetree Specification 0.4, chapter 5; UV_ESM step 12 (the edited tree is packed and
written back to guest memory). May not know what the tree is for.
"""

import struct

from pef_ultravisor.boot.device_tree_nodes import (
    DeviceTree,
    Flaw,
    MalformedDeviceTree,
    Node,
    Reservation,
    with_property,
    with_reservations,
)
from pef_ultravisor.boot.device_tree_reader import (
    DEPTH_LIMIT,
    FIRST_VERSION,
    HEADER,
    MAGIC,
    RESERVATION,
    TREE_LIMIT,
    VERSION,
    Token,
    name_bytes,
    parse,
    totalsize,
)

__all__ = [
    "TREE_LIMIT",
    "DeviceTree",
    "Flaw",
    "MalformedDeviceTree",
    "Node",
    "Reservation",
    "pack",
    "parse",
    "totalsize",
    "with_property",
    "with_reservations",
]


def pack(tree: DeviceTree, *, room: int = TREE_LIMIT, least: int = 0) -> bytes:
    """Write `tree`; where it has fewer than `least` bytes, slack makes them as many.

    Raises MalformedDeviceTree where the tree is larger than `room` bytes and than `least`, or couldn't be
    read back.
    """
    structure, strings = bytearray(), bytearray()
    try:
        _write_node(tree.root, structure, strings, {}, depth=1)
        structure += _cells(Token.END)
        reservations = b"".join(
            RESERVATION.pack(entry.address, entry.size) for entry in (*tree.reservations, Reservation(0, 0))
        )
        structure_place = HEADER.size + len(reservations)
        strings_place = structure_place + len(structure)
        used = strings_place + len(strings)
        if used > max(room, least):
            raise MalformedDeviceTree(Flaw.ROOM)
        size = max(used, least)
        header = HEADER.pack(
            *(MAGIC, size, structure_place, strings_place, HEADER.size),
            *(VERSION, FIRST_VERSION, tree.boot_cpu, len(strings), len(structure)),
        )
    except (struct.error, UnicodeEncodeError):
        raise MalformedDeviceTree(Flaw.UNWRITABLE) from None
    blob = (header + reservations + structure + strings).ljust(size, b"\0")
    # Invariant: what is written reads back as the same tree, so no name or count is checked twice.
    if parse(blob, limit=size) != tree:
        raise MalformedDeviceTree(Flaw.UNWRITABLE)
    return blob


def _write_node(
    node: Node, structure: bytearray, strings: bytearray, known: dict[str, int], *, depth: int
) -> None:
    if depth > DEPTH_LIMIT:
        raise MalformedDeviceTree(Flaw.DEPTH)
    structure += _cells(Token.BEGIN_NODE) + _padded(name_bytes(node.name) + b"\0")
    for name, value in node.properties.items():
        if name not in known:
            known[name] = len(strings)
            strings += name_bytes(name) + b"\0"
        structure += _cells(Token.PROPERTY, len(value), known[name]) + _padded(value)
    for child in node.children:
        _write_node(child, structure, strings, known, depth=depth + 1)
    structure += _cells(Token.END_NODE)


def _cells(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(4) for number in numbers)


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 4)
