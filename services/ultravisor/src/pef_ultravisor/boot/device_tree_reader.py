"""Flattened device trees: the bounded reader. It takes what libfdt takes.

    header 40 | reservations 16 each, ended by size 0 | structure, tokens of 4 | strings | slack
              ^ aligned to 8                          ^ aligned to 4             totalsize ^

That is the order of our own writer. Any other order is read, too, with gaps, and with blocks that overlap:
Linux's boot stub writes version 16 with its strings before its structure. What version 16 does not have is a
size of the structure block, so that block goes to its end token. A later version that says that it is
compatible with 17 or earlier is read as version 17.

Trust: every byte given to `parse` was chosen by the guest, which may be hostile. All work is bounded by the
size of the tree, its depth and the length of a name, and `MalformedDeviceTree` is the only way out besides a
tree. Nothing is refused because our own writer would not write it. Where a name stands twice, the first one
counts, as in libfdt and Linux. Padding bytes aren't looked at: libfdt leaves old bytes in them.

Source: Devicetree Specification 0.4, chapter 5; libfdt, fdt_check_header and fdt_check_full; Linux,
arch/powerpc/kernel/prom_init.c, flatten_device_tree; UV_ESM step 2 (the tree is at most 1 MiB). May not know
what the tree is for, nor how it reached this side.
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
FIRST_VERSION: Final = 16
"""The first version that is read; earlier ones write names and properties otherwise."""
VERSION: Final = 17
"""The version that is written, and the latest that a tree may need its reader to know."""
HEADER: Final = struct.Struct(">10I")
HEADER_SIZE: Final = HEADER.size
"""Bytes of a header. Every tree has as many, also one of version 16, whose header is shorter."""
HEADER_SIZE_16: Final = 36
"""Bytes of a header of version 16, which has no size of the structure block."""
RESERVATION: Final = struct.Struct(">QQ")

TREE_LIMIT: Final = 1 << 20
"""Most bytes of a tree, unless the caller names another limit."""
DEPTH_LIMIT: Final = 64
"""Most nodes one in another: as many as Linux reads."""
TOKEN_LIMIT: Final = TREE_LIMIT // 4
"""Most tokens of a structure block: as many as a tree of `TREE_LIMIT` bytes can have."""
NAME_LIMIT: Final = 255
"""Most bytes of a name: bounds what many names that share one long string cost."""


class Token(IntEnum):
    """What a cell of the structure block begins."""

    BEGIN_NODE = 1
    END_NODE = 2
    PROPERTY = 3
    NOP = 4
    END = 9


class Header(NamedTuple):
    """The ten cells a tree begins with; places and sizes in bytes. The last one counts from version 17 on."""

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

    @property
    def sizes_count(self) -> bool:
        """Tell whether both blocks end where their sizes say; in version 16 they may go on."""
        return self.version > FIRST_VERSION


def totalsize(header: bytes, *, limit: int = TREE_LIMIT) -> int:
    """Check the first 40 bytes of a tree alone and return how many bytes the whole tree has."""
    return _read_header(header, limit).totalsize


def parse(blob: bytes, *, limit: int = TREE_LIMIT, unique: bool = False) -> DeviceTree:
    """Read the tree at the start of `blob`; bytes after its totalsize are not part of it.

    Raises MalformedDeviceTree, and nothing else, whatever the bytes are. `limit` bounds totalsize. With
    `unique`, two properties or two children of one node that share a name are refused.
    """
    header = _read_header(blob, limit)
    if header.totalsize > len(blob):
        raise MalformedDeviceTree(Flaw.SHORT)
    end = header.totalsize
    structure_end = header.structure + header.structure_size if header.sizes_count else end
    strings_end = header.strings + header.strings_size if header.sizes_count else end
    reader = _StructureReader(
        blob[header.structure : structure_end], blob[header.strings : strings_end], unique=unique
    )
    reservations = _read_reservations(blob[header.reservations : end])
    return DeviceTree(reader.root(), reservations, header.boot_cpu)


def _read_header(blob: bytes, limit: int) -> Header:
    if len(blob) < HEADER.size:
        raise MalformedDeviceTree(Flaw.SHORT)
    header = Header(*HEADER.unpack_from(blob))
    if header.magic != MAGIC:
        raise MalformedDeviceTree(Flaw.MAGIC)
    if header.version < FIRST_VERSION or header.compatible > min(header.version, VERSION):
        raise MalformedDeviceTree(Flaw.VERSION)
    if header.totalsize > limit:
        raise MalformedDeviceTree(Flaw.LARGE)
    if header.reservations % 8 or header.structure % 4:
        raise MalformedDeviceTree(Flaw.ALIGNMENT)
    first = HEADER.size if header.sizes_count else HEADER_SIZE_16
    blocks = (
        (header.reservations, 0),
        (header.structure, header.structure_size if header.sizes_count else 0),
        (header.strings, header.strings_size),
    )
    if any(start < first or start + size > header.totalsize for start, size in blocks):
        raise MalformedDeviceTree(Flaw.BLOCKS)
    return header


def _read_reservations(block: bytes) -> tuple[Reservation, ...]:
    found: list[Reservation] = []
    for address, size in RESERVATION.iter_unpack(block[: len(block) - len(block) % RESERVATION.size]):
        if size == 0:
            return tuple(found)
        found.append(Reservation(address, size))
    raise MalformedDeviceTree(Flaw.RESERVATIONS)


@dataclass(slots=True)
class _OpenNode:
    """A node that was begun and not yet ended."""

    name: str
    properties: dict[str, bytes] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)

    def close(self) -> Node:
        return Node(self.name, MappingProxyType(self.properties), tuple(self.children))

    def names_are_unique(self) -> bool:
        return len({child.name for child in self.children}) == len(self.children)


class _StructureReader:
    """Reads one structure block, token by token, with its own stack: no input makes it recurse."""

    def __init__(self, structure: bytes, strings: bytes, *, unique: bool) -> None:
        self._structure = structure
        self._strings = strings
        self._unique = unique
        self._place = 0
        self._open: list[_OpenNode] = []
        self._root: Node | None = None

    def root(self) -> Node:
        """Return the root node. What follows the end token is not looked at."""
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
        return self._root

    def _begin_node(self) -> None:
        name = _name(self._structure, self._place, Flaw.CUT_OFF)
        self._take(len(name) + 1)
        if not self._open and (name or self._root is not None):
            raise MalformedDeviceTree(Flaw.ROOT)
        if len(self._open) == DEPTH_LIMIT:
            raise MalformedDeviceTree(Flaw.DEPTH)
        self._open.append(_OpenNode(_text(name)))

    def _end_node(self) -> None:
        if not self._open:
            raise MalformedDeviceTree(Flaw.BALANCE)
        ended = self._open.pop()
        if self._unique and not ended.names_are_unique():
            raise MalformedDeviceTree(Flaw.DUPLICATE)
        if self._open:
            self._open[-1].children.append(ended.close())
        else:
            self._root = ended.close()

    def _property(self) -> None:
        size, name_place = self._cell(), self._cell()
        value = self._take(size)
        name = _text(_name(self._strings, name_place, Flaw.STRING))
        if not self._open or self._open[-1].children:
            raise MalformedDeviceTree(Flaw.ORDER)
        if name not in self._open[-1].properties:
            self._open[-1].properties[name] = value
        elif self._unique:
            raise MalformedDeviceTree(Flaw.DUPLICATE)

    def _cell(self) -> int:
        return int.from_bytes(self._take(4))

    def _take(self, size: int) -> bytes:
        """Return the next `size` bytes and step over them and their padding."""
        end = self._place + size
        if end > len(self._structure):
            raise MalformedDeviceTree(Flaw.CUT_OFF)
        taken = self._structure[self._place : end]
        self._place = end + -end % 4
        return taken


def _name(block: bytes, start: int, open_ended: Flaw) -> bytes:
    """Return the NUL-terminated name at `start`; refuse one that the block doesn't end."""
    end = block.find(b"\0", start, start + NAME_LIMIT + 1)
    if end < 0:
        raise MalformedDeviceTree(Flaw.NAME if start + NAME_LIMIT < len(block) else open_ended)
    return block[start:end]


def _text(name: bytes) -> str:
    """Return a name as text; `name_bytes` gives its bytes back, whatever they are."""
    return name.decode("utf-8", "surrogateescape")


def name_bytes(name: str) -> bytes:
    """Return the bytes of a name that was read, or of one that is to be written."""
    return name.encode("utf-8", "surrogateescape")
