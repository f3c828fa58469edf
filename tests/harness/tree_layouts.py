"""Device trees as others lay them out: any order of the blocks, any version that a reader of 17 can read.

The Ultravisor's own writer knows one layout. This one writes what libfdt takes, so that a reader can't be
stricter than its callers.

Source: Linux, arch/powerpc/kernel/prom_init.c, flatten_device_tree; libfdt, fdt_check_full.
"""

import struct
from dataclasses import dataclass
from itertools import permutations
from typing import Final

from hypothesis import strategies as st

from pef_ultravisor.boot.device_tree import DeviceTree, Node

BEGIN, END_NODE, PROPERTY, NOP, END = (token.to_bytes(4) for token in (1, 2, 3, 4, 9))
ORDERS: Final = ["".join(order) for order in permutations("rst")]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a tree is laid out: `order` of reservations (r), structure (s) and strings (t); sizes in bytes.

    `nops` are the tokens before every other token, `hole` the zeroes at the start of the strings, `behind`
    what the structure has after its end token, `slack` what the tree has after its last block. Each block
    begins at a multiple of `edge`. `size_cell` is the last cell of a header of version 16: it means nothing.
    """

    order: str = "rst"
    version: int = 17
    compatible: int = 16
    edge: int = 8
    nops: int = 0
    hole: int = 0
    behind: int = 0
    slack: int = 0
    size_cell: int = 0
    suffixes: bool = False


LINUX: Final = Layout(order="rts", version=16, edge=4096, hole=4, slack=4096 - 1)
"""Reservations, strings and structure at pages of their own, and no size of the structure."""

layouts: Final = st.builds(
    Layout,
    order=st.sampled_from(ORDERS),
    version=st.sampled_from([16, 17, 18, 100]),
    compatible=st.sampled_from([0, 2, 16]),
    edge=st.sampled_from([8, 16, 4096]),
    nops=st.integers(0, 3),
    hole=st.integers(0, 9),
    behind=st.sampled_from([0, 4, 64]),
    slack=st.integers(0, 100),
    size_cell=st.integers(0, (1 << 32) - 1),
    suffixes=st.booleans(),
)


def laid_out(tree: DeviceTree, layout: Layout) -> bytes:
    """Write `tree` in a layout."""
    strings = _Strings(layout)
    structure = _structure(tree.root, strings, NOP * layout.nops) + NOP * layout.nops + END
    entries = [struct.pack(">QQ", entry.address, entry.size) for entry in tree.reservations]
    blocks = {
        "r": b"".join(entries) + b"\xff" * 8 + bytes(8),
        "s": structure + b"\xee" * layout.behind,
        "t": bytes(strings.block),
    }
    content, places = bytearray(40), {}
    for block in layout.order:
        content = content.ljust(-(-len(content) // layout.edge) * layout.edge, b"\xdd")
        places[block] = len(content)
        content += blocks[block]
    content += b"\xcc" * layout.slack
    size = len(blocks["s"]) if layout.version > 16 else layout.size_cell
    header = (0xD00DFEED, len(content), places["s"], places["t"], places["r"])
    cells = (*header, layout.version, layout.compatible, tree.boot_cpu, len(blocks["t"]), size)
    struct.pack_into(">10I", content, 0, *cells)
    return bytes(content)


class _Strings:
    """A strings block that grows; with `suffixes`, a name may be the end of another, as dtc writes it."""

    def __init__(self, layout: Layout) -> None:
        self.block = bytearray(layout.hole)
        self._suffixes = layout.suffixes

    def place(self, name: str) -> int:
        written = name.encode("utf-8", "surrogateescape") + b"\0"
        place = self.block.find(written) if self._suffixes else -1
        if place < 0:
            place = len(self.block)
            self.block += written
        return place


def _structure(node: Node, strings: _Strings, nops: bytes) -> bytes:
    written = nops + BEGIN + padded(node.name.encode("utf-8", "surrogateescape") + b"\0")
    for name, value in node.properties.items():
        written += nops + PROPERTY + struct.pack(">II", len(value), strings.place(name)) + padded(value)
    return written + b"".join(_structure(child, strings, nops) for child in node.children) + nops + END_NODE


def padded(content: bytes) -> bytes:
    """Return `content` and old bytes up to the next token, as libfdt leaves them."""
    return content + b"\xbb" * (-len(content) % 4)
