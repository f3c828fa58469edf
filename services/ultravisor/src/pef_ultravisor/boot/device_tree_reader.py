"""Flattened device trees: the strict, bounded reader (DTB version 17, compatible with 16).

    header 40 | reservations 16 each, ended by zeroes | structure, tokens of 4 | strings | slack
              ^ aligned to 8                          ^ aligned to 4            totalsize ^

Trust: every byte given to `parse` was chosen by the guest, which may be hostile. All work is
bounded before it is done, and `MalformedDeviceTree` is the only way out besides a tree. Stricter
than the format where a good writer never notices: blocks stand in the order above, names are
unique, the structure block holds nothing after its end token. Padding bytes aren't looked at:
libfdt leaves old bytes in them.

Source: Devicetree Specification 0.4, chapter 5; UV_ESM step 2 (the tree is at most 1 MiB). May not
know what the tree is for, nor how it reached this side.
"""

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from pef_ultravisor.boot.device_tree_nodes import (
    DeviceTree,
    Flaw,
    MalformedDeviceTree,
    Node,
    Reservation,
)

MAGIC: Final = 0xD00DFEED
VERSION: Final = 17
COMPATIBLE_VERSION: Final = 16
HEADER: Final = struct.Struct(">10I")
RESERVATION: Final = struct.Struct(">QQ")

TREE_LIMIT: Final = 1 << 20
"""Most bytes of a tree, unless the caller names another limit."""
DEPTH_LIMIT: Final = 16
NODE_LIMIT: Final = 4096
PROPERTY_LIMIT: Final = 16384
TOKEN_LIMIT: Final = 65536
"""Most tokens of a structure block: bounds those that do nothing, too."""
RESERVATION_LIMIT: Final = 256
NAME_LIMIT: Final = 255
_NAME_BYTES: Final = frozenset(range(ord("!"), ord("~") + 1))


class Token(IntEnum):
    """What a cell of the structure block begins."""

    BEGIN_NODE = 1
    END_NODE = 2
    PROPERTY = 3
    NOP = 4
    END = 9


class Header(NamedTuple):
    """The ten cells a tree begins with; places and sizes in bytes."""

    magic: int
    totalsize: int
    structure: int
    strings: int
    reservations: int
    version: int
    compatible: int
    boot_cpu: int
    strings_size: int
    structure_size: int


def totalsize(header: bytes, *, limit: int = TREE_LIMIT) -> int:
    """Check the first 40 bytes of a tree alone and return how many bytes the whole tree has."""
    return _read_header(header, limit).totalsize


def parse(blob: bytes, *, limit: int = TREE_LIMIT) -> DeviceTree:
    """Read the tree at the start of `blob`; bytes after its totalsize are not part of it.

    Raises MalformedDeviceTree, and nothing else, whatever the bytes are. `limit` bounds totalsize.
    """
    header = _read_header(blob, limit)
    if header.totalsize > len(blob):
        raise MalformedDeviceTree(Flaw.SHORT)
    structure = blob[header.structure : header.structure + header.structure_size]
    strings = blob[header.strings : header.strings + header.strings_size]
    reservations = _read_reservations(blob[header.reservations : header.structure])
    return DeviceTree(_StructureReader(structure, strings).root(), reservations, header.boot_cpu)


def _read_header(blob: bytes, limit: int) -> Header:
    if len(blob) < HEADER.size:
        raise MalformedDeviceTree(Flaw.SHORT)
    header = Header(*HEADER.unpack_from(blob))
    if header.magic != MAGIC:
        raise MalformedDeviceTree(Flaw.MAGIC)
    if (header.version, header.compatible) != (VERSION, COMPATIBLE_VERSION):
        raise MalformedDeviceTree(Flaw.VERSION)
    if header.totalsize > limit:
        raise MalformedDeviceTree(Flaw.LARGE)
    if header.reservations % 8 or header.structure % 4:
        raise MalformedDeviceTree(Flaw.ALIGNMENT)
    # Order: ascending edges show at once that no block overlaps another or leaves the tree.
    edges = (
        HEADER.size,
        header.reservations,
        header.structure,
        header.structure + header.structure_size,
        header.strings,
        header.strings + header.strings_size,
        header.totalsize,
    )
    if list(edges) != sorted(edges):
        raise MalformedDeviceTree(Flaw.BLOCKS)
    return header


def _read_reservations(block: bytes) -> tuple[Reservation, ...]:
    found: list[Reservation] = []
    for start in range(0, len(block) - RESERVATION.size + 1, RESERVATION.size):
        address, size = RESERVATION.unpack_from(block, start)
        if address == 0 and size == 0:
            return tuple(found)
        if address + size > 1 << 64 or len(found) == RESERVATION_LIMIT:
            break
        found.append(Reservation(address, size))
    raise MalformedDeviceTree(Flaw.RESERVATIONS)


@dataclass(slots=True)
class _OpenNode:
    """A node that was begun and not yet ended."""

    name: str
    properties: dict[str, bytes] = field(default_factory=dict)
    children: dict[str, Node] = field(default_factory=dict)

    def close(self) -> Node:
        return Node(self.name, MappingProxyType(self.properties), tuple(self.children.values()))


class _StructureReader:
    """Reads one structure block, token by token, with its own stack: no input makes it recurse."""

    def __init__(self, structure: bytes, strings: bytes) -> None:
        self._structure = structure
        self._strings = strings
        self._place = 0
        self._open: list[_OpenNode] = []
        self._root: Node | None = None
        self._nodes = 0
        self._properties = 0

    def root(self) -> Node:
        """Return the root node; refuse a block that does not end where its end token ends."""
        for _ in range(TOKEN_LIMIT):
            match self._cell():
                case Token.BEGIN_NODE:
                    self._begin_node()
                case Token.END_NODE:
                    self._end_node()
                case Token.PROPERTY:
                    self._property()
                case Token.NOP:
                    pass
                case Token.END:
                    return self._finished()
                case _:
                    raise MalformedDeviceTree(Flaw.TOKEN)
        raise MalformedDeviceTree(Flaw.TOKENS)

    def _finished(self) -> Node:
        if self._open:
            raise MalformedDeviceTree(Flaw.BALANCE)
        if self._root is None:
            raise MalformedDeviceTree(Flaw.ROOT)
        if self._place != len(self._structure):
            raise MalformedDeviceTree(Flaw.REST)
        return self._root

    def _begin_node(self) -> None:
        name = _name(self._structure, self._place, Flaw.CUT_OFF)
        self._take(len(name) + 1)
        if not self._open and (name or self._root is not None):
            raise MalformedDeviceTree(Flaw.ROOT)
        if self._open and (not name or "/" in name):
            raise MalformedDeviceTree(Flaw.NAME)
        self._nodes += 1
        if self._nodes > NODE_LIMIT:
            raise MalformedDeviceTree(Flaw.NODES)
        if len(self._open) == DEPTH_LIMIT:
            raise MalformedDeviceTree(Flaw.DEPTH)
        self._open.append(_OpenNode(name))

    def _end_node(self) -> None:
        if not self._open:
            raise MalformedDeviceTree(Flaw.BALANCE)
        node = self._open.pop().close()
        if not self._open:
            self._root = node
        elif node.name in self._open[-1].children:
            raise MalformedDeviceTree(Flaw.DUPLICATE)
        else:
            self._open[-1].children[node.name] = node

    def _property(self) -> None:
        size, name_place = self._cell(), self._cell()
        value = self._take(size)
        name = _name(self._strings, name_place, Flaw.STRING)
        if not name:
            raise MalformedDeviceTree(Flaw.NAME)
        if not self._open or self._open[-1].children:
            raise MalformedDeviceTree(Flaw.ORDER)
        self._properties += 1
        if self._properties > PROPERTY_LIMIT:
            raise MalformedDeviceTree(Flaw.PROPERTIES)
        if name in self._open[-1].properties:
            raise MalformedDeviceTree(Flaw.DUPLICATE)
        self._open[-1].properties[name] = value

    def _cell(self) -> int:
        return int.from_bytes(self._take(4))

    def _take(self, size: int) -> bytes:
        """Return the next `size` bytes and step over them and their padding."""
        end = self._place + size + -size % 4
        if end > len(self._structure):
            raise MalformedDeviceTree(Flaw.CUT_OFF)
        taken = self._structure[self._place : self._place + size]
        self._place = end
        return taken


def _name(block: bytes, start: int, open_ended: Flaw) -> str:
    """Return the NUL-terminated name at `start`; refuse one that the block doesn't end."""
    end = block.find(b"\0", start, start + NAME_LIMIT + 1)
    if end < 0:
        raise MalformedDeviceTree(Flaw.NAME if start + NAME_LIMIT < len(block) else open_ended)
    name = block[start:end]
    if not _NAME_BYTES.issuperset(name):
        raise MalformedDeviceTree(Flaw.NAME)
    return name.decode("ascii")
