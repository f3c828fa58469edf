"""Device trees on the Ultravisor's side: any bytes are a tree or refused, and the library `fdt` agrees."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from harness.tree_layouts import Layout, laid_out, layouts
from pef_lab.image import flat_tree
from pef_lab.image.flat_tree import FlatTree
from pef_ultravisor.boot.device_tree import (
    DeviceTree,
    MalformedDeviceTree,
    Node,
    Reservation,
    pack,
    parse,
    totalsize,
)

names = st.text("abcXYZ019,._+-@#", min_size=1, max_size=12)
contents = st.dictionaries(names, st.binary(max_size=40), max_size=4)


def children_of(nodes: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    unique = st.lists(nodes, max_size=4, unique_by=lambda node: node.name).map(tuple)
    return st.builds(Node, names, contents, unique)


nodes = st.recursive(st.builds(Node, names, contents), children_of, max_leaves=8)
roots = children_of(nodes).map(lambda node: Node("", node.properties, node.children))
reservations = st.builds(Reservation, st.integers(0, 1 << 63), st.integers(1, 1 << 62))
trees = st.builds(
    DeviceTree, roots, st.lists(reservations, max_size=3).map(tuple), st.integers(0, (1 << 32) - 1)
)


def as_plain(tree: DeviceTree) -> FlatTree:
    plain: dict[str, dict[str, bytes]] = {}

    def collect(node: Node, path: str) -> None:
        plain[path] = dict(node.properties)
        for child in node.children:
            collect(child, f"{path.rstrip('/')}/{child.name}")

    collect(tree.root, "/")
    listed = [(entry.address, entry.size) for entry in tree.reservations]
    return FlatTree(plain, listed, tree.boot_cpu)


@given(trees)
def test_any_tree_survives_a_round_trip(tree: DeviceTree) -> None:
    assert parse(pack(tree)) == tree


odd_names = st.text(min_size=1, max_size=12).filter(lambda name: "\0" not in name)
odd = st.builds(Node, st.just(""), st.dictionaries(odd_names, st.binary(max_size=9), max_size=4)).flatmap(
    lambda root: st.lists(st.builds(Node, odd_names), max_size=4).map(
        lambda children: DeviceTree(Node("", root.properties, tuple(children)))
    )
)


@given(trees | odd, layouts)
def test_any_layout_of_a_tree_is_the_same_tree(tree: DeviceTree, layout: Layout) -> None:
    written = laid_out(tree, layout)
    assert parse(written) == parse(written + b"more") == tree
    assert totalsize(written[:40]) == len(written)
    assert parse(pack(tree, least=len(written))) == tree


@given(trees, layouts, st.data())
def test_a_mutated_layout_is_a_tree_or_is_refused(
    tree: DeviceTree, layout: Layout, draw: st.DataObject
) -> None:
    mutated = bytearray(laid_out(tree, layout))
    places = st.integers(0, 39) | st.integers(0, len(mutated) - 1)
    for place, byte in draw.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=6)):
        mutated[place] = byte
    only_refuses(bytes(mutated[: draw.draw(st.none() | places)]))


@given(trees)
def test_the_library_reads_what_is_written_here(tree: DeviceTree) -> None:
    assert flat_tree.read(pack(tree)) == as_plain(tree)


@given(trees)
def test_what_the_library_writes_is_read_here(tree: DeviceTree) -> None:
    assert parse(flat_tree.write(as_plain(tree), room=65536)) == tree


def by_hand(structure: bytes, strings: bytes) -> bytes:
    strings_place = 56 + len(structure)
    header = (0xD00DFEED, strings_place + len(strings), 56, strings_place, 40, 17, 16, 0)
    cells = struct.pack(">10I", *header, len(strings), len(structure))
    return cells + bytes(16) + structure + strings


def only_refuses(given_bytes: bytes) -> None:
    try:
        tree = parse(given_bytes)
    except MalformedDeviceTree:
        return
    assert parse(pack(tree)) == tree


@given(st.binary(max_size=400))
def test_any_bytes_are_a_tree_or_are_refused(anything: bytes) -> None:
    only_refuses(anything)


tokens = st.sampled_from([*(token.to_bytes(4) for token in (1, 2, 3, 4, 9, 0)), b"a\0\0\0"])


@given(st.lists(tokens | st.binary(min_size=4, max_size=4)), st.binary(max_size=12))
def test_any_tokens_are_a_tree_or_are_refused(cells: list[bytes], strings: bytes) -> None:
    only_refuses(by_hand(b"".join(cells), strings))


@given(trees, st.data())
def test_a_mutated_tree_is_a_tree_or_is_refused(tree: DeviceTree, draw: st.DataObject) -> None:
    mutated = bytearray(pack(tree))
    places = st.integers(0, len(mutated) - 1)
    for place, byte in draw.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=6)):
        mutated[place] = byte
    only_refuses(bytes(mutated[: draw.draw(st.none() | places)]))


@given(trees, st.integers(0, 9), st.integers(0, (1 << 32) - 1))
def test_a_mutated_header_is_a_tree_or_is_refused(tree: DeviceTree, cell: int, number: int) -> None:
    mutated = bytearray(pack(tree, least=4096))
    mutated[4 * cell : 4 * cell + 4] = number.to_bytes(4)
    only_refuses(bytes(mutated))
