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
    HEADER_SIZE,
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
    "HEADER_SIZE",
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
    structure = bytearray()
    try:
        strings, places = _strings_of(tree.root)
        _write_node(tree.root, structure, places, depth=1)
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


def _strings_of(root: Node) -> tuple[bytes, dict[str, int]]:
    """Return the strings block, and each name's place in it; a name that ends another one stands there."""
    names: set[str] = set()
    open_nodes = [root]
    while open_nodes:
        node = open_nodes.pop()
        names.update(node.properties)
        open_nodes.extend(node.children)
    strings, places, last = bytearray(), dict[str, int](), b""
    for name, ended in sorted(
        ((name, name_bytes(name) + b"\0") for name in names), key=lambda pair: pair[1][::-1], reverse=True
    ):
        if not last.endswith(ended):
            strings += ended
            last = ended
        places[name] = len(strings) - len(ended)
    return bytes(strings), places


def _write_node(node: Node, structure: bytearray, places: dict[str, int], *, depth: int) -> None:
    if depth > DEPTH_LIMIT:
        raise MalformedDeviceTree(Flaw.DEPTH)
    structure += _cells(Token.BEGIN_NODE) + _padded(name_bytes(node.name) + b"\0")
    for name, value in node.properties.items():
        structure += _cells(Token.PROPERTY, len(value), places[name]) + _padded(value)
    for child in node.children:
        _write_node(child, structure, places, depth=depth + 1)
    structure += _cells(Token.END_NODE)


def _cells(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(4) for number in numbers)


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 4)
