"""The guest image: its layout, what it describes, what the Ultravisor will make of it, and its files."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.built_image import BOOTARGS, FILES, IMAGE, MIB, image_of, machine
from pef_lab.image import build_image, lay_out, promise_of, seal_blob
from pef_ultravisor.boot.blob import open_blob
from pef_ultravisor.boot.device_tree import Reservation, pack, parse, totalsize, with_reservations
from pef_ultravisor.boot.measurement import differing, measure

PAGE = 1 << 16


@given(st.integers(128, 4 * MIB), st.integers(1024, 4 * MIB), st.integers(16 * MIB // PAGE, 1 << 21))
def test_pieces_lie_on_pages_of_their_own(kernel_size: int, initrd_size: int, pages: int) -> None:
    image = image_of(kernel_size=kernel_size, initrd_size=initrd_size, memory_size=pages * PAGE)
    end = 0
    for gpa, content in image.layout:
        assert gpa % PAGE == 0
        assert gpa >= end
        end = gpa + len(content)
    assert end <= image.memory_size - MIB
    assert (len(image.kernel), len(image.initrd)) == (kernel_size, initrd_size)


def test_describes_itself() -> None:
    tree = parse(IMAGE.device_tree)
    chosen = tree.node("/chosen")
    assert chosen.text("bootargs") == BOOTARGS
    assert chosen.cell64("linux,initrd-start") == IMAGE.initrd_address
    assert chosen.cell64("linux,initrd-end") == IMAGE.initrd_address + len(IMAGE.initrd)
    assert chosen.cell64("linux,esm-blob-start") == IMAGE.esm_blob_address
    assert chosen.cell64("linux,esm-blob-end") == IMAGE.esm_blob_address + len(IMAGE.esm_blob)
    assert tree.node("/rtas").cell32("linux,rtas-base") == IMAGE.rtas_address
    assert tree.node("/rtas").cell32("rtas-size") == len(IMAGE.rtas) == PAGE
    assert tree.node("/memory@0").value("reg") == bytes(8) + IMAGE.memory_size.to_bytes(8)
    assert (tree.root.cell32("#address-cells"), tree.root.cell32("#size-cells")) == (2, 2)
    assert tree.node("/cpus/PowerPC,POWER9@0").cell32("reg") == tree.boot_cpu == 0
    assert tree.reservations == tuple(Reservation(gpa, len(content)) for gpa, content in IMAGE.layout)


def test_leaves_the_ultravisor_room_to_add_reservations() -> None:
    room = totalsize(IMAGE.device_tree)
    assert room == len(IMAGE.device_tree) == PAGE
    tree = parse(IMAGE.device_tree)
    extra = [Reservation(number * PAGE, PAGE) for number in range(200, 220)]
    written = pack(with_reservations(tree, extra), least=room)
    assert parse(written) == with_reservations(tree, extra)


def test_keeps_its_promise() -> None:
    opened = open_blob(IMAGE.esm_blob, machine)
    assert opened.files == FILES
    assert opened.kernel_size == len(IMAGE.kernel)
    bootargs = BOOTARGS.encode()
    kernel, initrd, rtas = IMAGE.kernel, IMAGE.initrd, IMAGE.rtas
    measured = measure(kernel=kernel, initrd=initrd, bootargs=bootargs, rtas=rtas)
    assert differing(measured, opened.digests) == ()


def test_can_be_laid_out_with_a_false_promise() -> None:
    truth = promise_of(kernel=IMAGE.kernel, initrd=IMAGE.initrd, bootargs=BOOTARGS, rtas=IMAGE.rtas)
    blob = seal_blob(
        recipients=[machine.public_bytes],
        promise=dataclasses.replace(truth, kernel=bytes(64)),
        files=FILES,
        payload_key=bytes(32),
        nonce=bytes(12),
    )
    image = lay_out(
        memory_size=IMAGE.memory_size,
        bootargs=BOOTARGS,
        kernel=IMAGE.kernel,
        rtas=IMAGE.rtas,
        initrd=IMAGE.initrd,
        esm_blob=blob,
    )
    assert dataclasses.replace(image, esm_blob=IMAGE.esm_blob) == IMAGE
    measured = measure(kernel=image.kernel, initrd=image.initrd, bootargs=BOOTARGS.encode(), rtas=image.rtas)
    assert differing(measured, open_blob(image.esm_blob, machine).digests) == ("kernel",)


def test_the_same_seed_gives_the_same_bytes_but_for_the_sealing() -> None:
    again = image_of()
    assert again.esm_blob != IMAGE.esm_blob
    assert dataclasses.replace(again, esm_blob=IMAGE.esm_blob) == IMAGE
    assert open_blob(again.esm_blob, machine) == open_blob(IMAGE.esm_blob, machine)
    other = image_of(seed=2)
    assert other.kernel != IMAGE.kernel
    assert other.initrd != IMAGE.initrd
    assert other.rtas != IMAGE.rtas


def test_shows_readable_text_but_no_secret() -> None:
    assert IMAGE.kernel.startswith(b"Linux version 5.9.0-pef (lab@pef) kernel #1\n\0")
    assert IMAGE.initrd.startswith(b"070701")
    assert b'VERSION="5.9.0-pef"' in IMAGE.initrd
    everything = b"".join(content for _, content in IMAGE.layout)
    assert FILES["disk-key"] not in everything
    assert b"disk-key" not in everything
    assert "Linux" not in repr(IMAGE)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"memory_size": 15 * MIB}, "want whole pages"),
        ({"memory_size": 16 * MIB + 1}, "want whole pages"),
        ({"kernel_size": 12 * MIB}, "for these pieces"),
        ({"kernel_size": 20}, "kernel of 20 bytes"),
        ({"initrd_size": 500}, "an initrd of 500 bytes"),
    ],
)
def test_refuses_what_does_not_fit(sizes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        image_of(**sizes)


def test_refuses_bootargs_larger_than_the_page_of_the_tree() -> None:
    with pytest.raises(ValueError, match="bootargs of 65,536 bytes: the device tree has room for "):
        lay_out(
            memory_size=16 * MIB,
            bootargs="a" * PAGE,
            kernel=b"",
            rtas=b"",
            initrd=b"",
            esm_blob=b"",
        )


def test_refuses_a_file_that_the_library_would_leave_out() -> None:
    with pytest.raises(ValueError, match="leave it out"):
        build_image(
            memory_size=16 * MIB,
            machine_public_key=machine.public_bytes,
            bootargs=BOOTARGS,
            files={"key_with_references": b""},
            seed=1,
        )
