"""The nodes of a device tree, what may be asked of them, and why a tree is refused.

Nodes are values: an edit returns another tree. Every question is answered or refused by
`MalformedDeviceTree`, so a caller who asks for what the guest left out needs no checks of its own.

Source: Devicetree Specification 0.4, chapter 2. May not know how a tree is laid out in bytes
(`device_tree`), nor what a property means.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType


class Flaw(StrEnum):
    """Why a tree is refused. No text here bears a byte of the tree itself."""

    SHORT = "shorter than its header or its totalsize"
    MAGIC = "wrong magic number"
    VERSION = "needs a reader of another version than 16 or 17"
    LARGE = "larger than the limit"
    BLOCKS = "a block lies in the header or leaves the tree"
    ALIGNMENT = "a block is not aligned"
    RESERVATIONS = "reservations don't end"
    CUT_OFF = "structure block ends inside a token"
    TOKEN = "unknown token"  # noqa: S105 - a token of the structure block
    TOKENS = "too many tokens"
    ROOT = "not exactly one root node with an empty name"
    BALANCE = "node ended that was not begun, or begun and not ended"
    DEPTH = "nodes nested too deep"
    ORDER = "property outside a node or after a child"
    NAME = "name is too long"
    STRING = "property name leaves the strings block"
    DUPLICATE = "two properties or two children of one node share a name"
    ABSENT = "node or property is absent"
    SIZE = "property has the wrong size"
    TEXT = "property is not one NUL-terminated text"
    VALUE = "property has a value that can't be"
    ROOM = "tree doesn't fit into its room"
    UNWRITABLE = "tree can't be written so that it reads back as it is"


class MalformedDeviceTree(Exception):
    """The bytes are no acceptable tree, or the tree lacks what is asked of it (UV_ESM: U_P2).

    `reason` is one of `Flaw`; `subject` names what was asked for, in the asker's words.
    """

    def __init__(self, reason: Flaw, subject: str = "") -> None:
        super().__init__(f"device tree: {reason}" + (f": {subject}" if subject else ""))
        self.reason = reason
        self.subject = subject


@dataclass(frozen=True, slots=True)
class Reservation:
    """A range of guest memory that nobody may use: address and size in bytes."""

    address: int
    size: int


@dataclass(frozen=True, slots=True)
class Node:
    """A node: its name, its properties by name (raw bytes), its children in the order written."""

    name: str
    properties: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    children: tuple["Node", ...] = field(default=(), repr=False)

    def child(self, name: str) -> "Node":
        """Return the first child called exactly `name`, unit address included."""
        return self._first(name, lambda child: child.name == name)

    def child_in_path(self, name: str) -> "Node":
        """Return the first child that `name` stands for in a path: without a unit address, it may have any.

        Source: libfdt, fdt_subnode_offset.
        """
        anywhere = "" if "@" in name else f"{name}@"
        return self._first(
            name, lambda child: child.name == name or (bool(anywhere) and child.name.startswith(anywhere))
        )

    def _first(self, name: str, is_meant: Callable[["Node"], bool]) -> "Node":
        for child in self.children:
            if is_meant(child):
                return child
        raise MalformedDeviceTree(Flaw.ABSENT, name)

    def value(self, name: str, size: int | None = None) -> bytes:
        """Return the bytes of property `name`; where `size` is given, it must have so many."""
        if name not in self.properties:
            raise MalformedDeviceTree(Flaw.ABSENT, name)
        found = self.properties[name]
        if size is not None and len(found) != size:
            raise MalformedDeviceTree(Flaw.SIZE, name)
        return found

    def cell32(self, name: str) -> int:
        """Return property `name`, one cell of 4 bytes."""
        return int.from_bytes(self.value(name, 4))

    def number(self, name: str) -> int:
        """Return property `name`, a number of one cell or of two, high one first."""
        found = self.value(name)
        if len(found) not in {4, 8}:
            raise MalformedDeviceTree(Flaw.SIZE, name)
        return int.from_bytes(found)

    def cell64(self, name: str) -> int:
        """Return property `name`, 8 bytes: one 64-bit number, or two cells, high one first."""
        return int.from_bytes(self.value(name, 8))

    def text(self, name: str) -> str:
        """Return property `name`, one UTF-8 text, without the NUL that ends it."""
        found = self.value(name)
        if not found.endswith(b"\0") or found.count(b"\0") != 1:
            raise MalformedDeviceTree(Flaw.TEXT, name)
        try:
            return found[:-1].decode()
        except UnicodeDecodeError:
            raise MalformedDeviceTree(Flaw.TEXT, name) from None


@dataclass(frozen=True, slots=True)
class DeviceTree:
    """A whole tree: root node, memory reservations in the order written, number of the boot CPU."""

    root: Node
    reservations: tuple[Reservation, ...] = ()
    boot_cpu: int = 0

    def node(self, path: str) -> Node:
        """Return the node at `path`, such as "/chosen"; "/" is the root."""
        found = self.root
        for name in _steps(path):
            found = found.child_in_path(name)
        return found


def with_reservations(tree: DeviceTree, extra: Iterable[Reservation]) -> DeviceTree:
    """Return `tree` with the reservations `extra` after those it has."""
    return replace(tree, reservations=(*tree.reservations, *extra))


def with_property(tree: DeviceTree, path: str, name: str, value: bytes) -> DeviceTree:
    """Return `tree` with property `name` of the node at `path` set; the node must exist."""

    def changed(node: Node, steps: list[str]) -> Node:
        if not steps:
            return replace(node, properties=MappingProxyType({**node.properties, name: value}))
        target = node.child_in_path(steps[0])
        below = changed(target, steps[1:])
        children = tuple(below if child is target else child for child in node.children)
        return replace(node, children=children)

    return replace(tree, root=changed(tree.root, _steps(path)))


def _steps(path: str) -> list[str]:
    return [name for name in path.split("/") if name]
