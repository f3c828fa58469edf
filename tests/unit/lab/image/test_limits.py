"""What the builder accepts, the Ultravisor opens; what it refuses, it names; both have the same limits."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.built_image import MIB, machine
from pef_lab.image import GuestImage, build_image, limits
from pef_lab.image import blob as owner
from pef_protocol.esm_blob import BLOB_LIMIT, FILE_NAME_LIMIT, FILES_LIMIT
from pef_protocol.ultracalls import Esm
from pef_ultravisor.boot import image as ultravisor
from pef_ultravisor.boot.blob import MalformedBlob, open_blob
from pef_ultravisor.boot.device_tree import MalformedDeviceTree, pack, parse, with_property
from pef_ultravisor.boot.image import BootPlan

PAGE: Final = 1 << 16
REFUSALS: Final = ("attached file", "a machine opens at most", "bootargs", "bytes of memory", "public key")


@dataclass(frozen=True, slots=True)
class Order:
    """What an owner orders: an image for the machine of the tests, small but for what is tried."""

    bootargs: str = "quiet"
    files: Mapping[str, bytes] = field(default_factory=dict)
    memory_size: int = 64 * MIB
    key: bytes = machine.public_bytes

    def build(self) -> GuestImage:
        return build_image(
            memory_size=self.memory_size,
            machine_public_key=self.key,
            bootargs=self.bootargs,
            files=self.files,
            seed=1,
            kernel_size=PAGE,
            initrd_size=4096,
        )


def is_opened(image: GuestImage, order: Order) -> None:
    """Read an image as UV_ESM does, and compare it with what was ordered."""
    plan = BootPlan.of(Esm(image.kernel_base, image.fdt_address), image.device_tree)
    opened = open_blob(image.esm_blob, machine)
    assert plan.image.bootargs == order.bootargs.encode()
    assert plan.image.esm_blob.size == len(image.esm_blob) <= BLOB_LIMIT
    assert plan.image.memory_end == min(order.memory_size, ultravisor.RMO_LIMIT)
    assert (opened.files, opened.kernel_size) == (order.files, len(image.kernel))
    assert opened.digests.bootargs == hashlib.sha512(plan.image.bootargs).digest()


names = st.text("aZ09,._+-@#/!~", min_size=1, max_size=64) | st.text(max_size=70)
orders = st.builds(
    Order,
    bootargs=st.text(max_size=100) | st.integers(64_700, 64_900).map(lambda size: "a" * size),
    files=st.dictionaries(names, st.binary(max_size=100), max_size=5),
    memory_size=st.integers(250, 300).map(lambda pages: pages * PAGE) | st.integers(1, 1 << 40),
    key=st.just(machine.public_bytes) | st.binary(max_size=33),
)


@given(orders)
@example(Order(files={"phandle": b"1", "a/b": b"", "@": b"2", "key_with_reference": b""}))
@example(Order(bootargs="ä" * 100))
def test_what_is_built_is_opened_and_what_is_not_is_named(order: Order) -> None:
    says = refusal_of(order)
    if says:
        assert any(limit in says for limit in REFUSALS)
        assert "\n" not in says
    elif order.key == machine.public_bytes:
        is_opened(order.build(), order)


def refusal_of(order: Order) -> str:
    """Return why the builder refuses an order; nothing where it does not."""
    try:
        order.build()
    except ValueError as refused:
        return str(refused)
    return ""


def of_blob(size: int) -> Order:
    """Return an order of one file, with which the blob has `size` bytes, or up to 3 less."""
    overhead = len(Order(files={"a": b""}).build().esm_blob)
    return Order(files={"a": bytes((size - overhead) // 4 * 4)})


def bootargs_of(length: int) -> Order:
    return Order(bootargs="a" * length)


def most_bootargs() -> int:
    """Return how many bytes of bootargs the message of one that has too many allows."""
    with pytest.raises(ValueError, match="has room for") as refused:
        bootargs_of(PAGE).build()
    return int(str(refused.value).rpartition(" ")[2].replace(",", ""))


AT_THE_LIMIT: Final = {
    "a name of one character": lambda: Order(files={"!": b"1"}),
    "a name of 64 characters": lambda: Order(files={"~" * FILE_NAME_LIMIT: b"1"}),
    "1,024 files": lambda: Order(
        files={f"file {number}".replace(" ", "-"): b"" for number in range(FILES_LIMIT)}
    ),
    "a blob of 16 MiB": lambda: of_blob(BLOB_LIMIT),
    "the longest bootargs": lambda: bootargs_of(most_bootargs()),
    "no bootargs": lambda: Order(bootargs=""),
    "the smallest memory": lambda: Order(memory_size=16 * MIB),
    "the largest memory": lambda: Order(memory_size=1 << 46),
}


@pytest.mark.parametrize("what", AT_THE_LIMIT)
def test_at_a_limit_both_accept(what: str) -> None:
    order = AT_THE_LIMIT[what]()
    image = order.build()
    is_opened(image, order)
    if what == "a blob of 16 MiB":
        assert BLOB_LIMIT - 4 < len(image.esm_blob) <= BLOB_LIMIT


def sealed(files: Mapping[str, bytes]) -> bytes:
    """Seal files without asking whether they may be."""
    promise = owner.promise_of(kernel=b"1", initrd=b"", bootargs="", rtas=b"")
    return owner.seal_blob(
        recipients=[machine.public_bytes],
        promise=promise,
        files=files,
        payload_key=bytes(32),
        nonce=bytes(12),
    )


BEYOND: Final[Mapping[str, tuple[str, Mapping[str, bytes]]]] = {
    "a name of no character": ("attached file '': a name is 1 to 64", {"": b""}),
    "a name of 65 characters": ("a name is 1 to 64", {"n" * (FILE_NAME_LIMIT + 1): b""}),
    "a name with a space": ("attached file 'a b': ", {"a b": b""}),
    "1,025 files": ("1,025 attached files", {f"file-{number}": b"" for number in range(FILES_LIMIT + 1)}),
}


@pytest.mark.parametrize(("says", "files"), BEYOND.values(), ids=BEYOND)
def test_beyond_a_limit_both_refuse(says: str, files: Mapping[str, bytes]) -> None:
    with pytest.raises(ValueError, match=says):
        Order(files=files).build()
    with pytest.raises(MalformedBlob):
        open_blob(sealed(files), machine)


def test_a_blob_of_one_cell_more_is_refused_by_both() -> None:
    order = of_blob(BLOB_LIMIT + 4)
    with pytest.raises(
        ValueError, match="bytes of ESM blob and attached files: a machine opens at most 16,777,216"
    ):
        order.build()
    with pytest.raises(MalformedBlob):
        open_blob(sealed(order.files), machine)


def test_bootargs_of_one_byte_more_are_refused_by_both() -> None:
    most = most_bootargs()
    tree = parse(bootargs_of(most).build().device_tree)
    longer = with_property(tree, "/chosen", "bootargs", b"a" * (most + 1) + b"\0")
    with pytest.raises(
        ValueError, match=f"bootargs of {most + 1:,} bytes: the device tree has room for {most:,}"
    ):
        bootargs_of(most + 1).build()
    image = bootargs_of(most).build()
    asked = Esm(image.kernel_base, image.fdt_address)
    with pytest.raises(MalformedDeviceTree):
        BootPlan.of(asked, pack(longer, least=PAGE))


def test_the_ultravisor_adds_as_many_reservations_as_the_builder_leaves_room_for() -> None:
    assert len(ultravisor.BOUNCE) == limits.BOUNCE_RESERVATIONS


def test_names_that_stand_twice_are_refused() -> None:
    with pytest.raises(ValueError, match="attached file 'a': another one has the same name"):
        limits.check_file_names(["a", "b", "a"])
