"""The guest image: what lies in a VM's memory when its kernel calls UV_ESM.

Every piece begins on a page of its own, in this order, below the memory's last mebibyte, which is
left for what the Ultravisor reserves:

    1 MiB  device tree, one page, mostly slack    2 MiB  RTAS area, one page
    4 MiB  kernel, then initrd, then ESM blob, each at the next page

An image is the same bytes for the same seed, but for the ESM blob: sealing draws a payload key, a
nonce and one HPKE key for each machine, because a secret that a seed gives away is none. Kernel and
RTAS are noise behind a line of readable text, so that a demonstration can show who may read what.

Source: UV_ESM steps 2 to 8 (what the Ultravisor looks for, and where).
"""

import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pef_lab.image import flat_tree, limits
from pef_lab.image.blob import NONCE_SIZE, PAYLOAD_KEY_SIZE, PUBLIC_KEY_SIZE, promise_of, seal_blob
from pef_lab.image.flat_tree import FlatTree, cell32, cell64, text
from pef_lab.image.initrd import build_initrd
from pef_protocol.quantities import PAGE_SIZE, Gpa

MIB = 1 << 20
SMALLEST_MEMORY = 16 * MIB
HEADROOM = 1 * MIB
FDT_ADDRESS = Gpa(1 * MIB)
RTAS_ADDRESS = Gpa(2 * MIB)
KERNEL_BASE = Gpa(4 * MIB)
FDT_SIZE = PAGE_SIZE
RTAS_SIZE = PAGE_SIZE
KERNEL_SIZE = 1 * MIB
INITRD_SIZE = 512 << 10
RELEASE = "5.9.0-pef"


class Piece(NamedTuple):
    """Bytes at a guest physical address."""

    gpa: Gpa
    content: bytes


@dataclass(frozen=True, slots=True)
class GuestImage:
    """A guest ready to be loaded: its pieces, where each lies, how much memory it has (bytes)."""

    memory_size: int
    kernel_base: Gpa
    fdt_address: Gpa
    rtas_address: Gpa
    initrd_address: Gpa
    esm_blob_address: Gpa
    kernel: bytes = field(repr=False)
    device_tree: bytes = field(repr=False)
    rtas: bytes = field(repr=False)
    initrd: bytes = field(repr=False)
    esm_blob: bytes = field(repr=False)

    @property
    def layout(self) -> tuple[Piece, ...]:
        """The pieces in order of address; what lies between them is zeroes."""
        return (
            Piece(self.fdt_address, self.device_tree),
            Piece(self.rtas_address, self.rtas),
            Piece(self.kernel_base, self.kernel),
            Piece(self.initrd_address, self.initrd),
            Piece(self.esm_blob_address, self.esm_blob),
        )


def build_image(
    *,
    memory_size: int,
    machine_public_key: bytes,
    bootargs: str,
    files: Mapping[str, bytes],
    seed: int,
    kernel_size: int = KERNEL_SIZE,
    initrd_size: int = INITRD_SIZE,
    entropy: Callable[[int], bytes] = secrets.token_bytes,
) -> GuestImage:
    """Build a guest of `memory_size` bytes, its files sealed for one machine.

    `machine_public_key` is a raw X25519 public key, 32 bytes; `files` are attached to the blob by
    name; `entropy` returns so many random bytes, for the payload key and the nonce. Raises
    ValueError, in one line, where the pieces don't fit into the memory, or a machine would refuse them.
    """
    limits.check_public_key(machine_public_key, PUBLIC_KEY_SIZE)
    limits.check_files(files)
    limits.check_bootargs(bootargs)
    kernel = _readable_noise("kernel", seed, kernel_size)
    rtas = _readable_noise("rtas", seed, RTAS_SIZE)
    filler = hashlib.shake_256(f"initrd {seed}".encode()).digest(initrd_size)
    initrd = build_initrd(size=initrd_size, release=RELEASE, filler=filler)
    esm_blob = seal_blob(
        recipients=[machine_public_key],
        promise=promise_of(kernel=kernel, initrd=initrd, bootargs=bootargs, rtas=rtas),
        files=files,
        payload_key=entropy(PAYLOAD_KEY_SIZE),
        nonce=entropy(NONCE_SIZE),
    )
    limits.check_blob_size(len(esm_blob))
    return lay_out(
        memory_size=memory_size,
        bootargs=bootargs,
        kernel=kernel,
        rtas=rtas,
        initrd=initrd,
        esm_blob=esm_blob,
    )


def lay_out(
    *,
    memory_size: int,
    bootargs: str,
    kernel: bytes,
    rtas: bytes,
    initrd: bytes,
    esm_blob: bytes,
) -> GuestImage:
    """Give each part its place and describe it all in a device tree; the blob may be anyone's."""
    initrd_address = _next_page(KERNEL_BASE + len(kernel))
    esm_blob_address = _next_page(initrd_address + len(initrd))
    end = esm_blob_address + len(esm_blob) + HEADROOM
    if memory_size < max(SMALLEST_MEMORY, end) or memory_size % PAGE_SIZE:
        message = f"{memory_size} bytes of memory: want whole pages, at least {SMALLEST_MEMORY}"
        message += f", and {end} for these pieces"
        raise ValueError(message)
    pieces = [
        Piece(RTAS_ADDRESS, rtas),
        Piece(KERNEL_BASE, kernel),
        Piece(initrd_address, initrd),
        Piece(esm_blob_address, esm_blob),
    ]
    addresses = {
        "linux,initrd-start": cell64(initrd_address),
        "linux,initrd-end": cell64(initrd_address + len(initrd)),
        "linux,esm-blob-start": cell64(esm_blob_address),
        "linux,esm-blob-end": cell64(esm_blob_address + len(esm_blob)),
    }
    return GuestImage(
        memory_size=memory_size,
        kernel_base=KERNEL_BASE,
        fdt_address=FDT_ADDRESS,
        rtas_address=RTAS_ADDRESS,
        initrd_address=initrd_address,
        esm_blob_address=esm_blob_address,
        kernel=kernel,
        device_tree=_device_tree(memory_size, bootargs, addresses, len(rtas), pieces),
        rtas=rtas,
        initrd=initrd,
        esm_blob=esm_blob,
    )


def _device_tree(
    memory_size: int, bootargs: str, addresses: Mapping[str, bytes], rtas_size: int, pieces: Sequence[Piece]
) -> bytes:
    """Write the tree into one page, so that the Ultravisor can add to it and write it back."""
    nodes = {
        "/": {
            "model": text("PEF lab"),
            "compatible": text("ibm,pseries"),
            "#address-cells": cell32(2),
            "#size-cells": cell32(2),
        },
        "/memory@0": {
            "device_type": text("memory"),
            "reg": cell64(0) + cell64(memory_size),
        },
        "/chosen": {"bootargs": text(bootargs), **addresses},
        "/rtas": {
            "linux,rtas-base": cell32(RTAS_ADDRESS),
            "rtas-size": cell32(rtas_size),
        },
        "/cpus": {"#address-cells": cell32(1), "#size-cells": cell32(0)},
        "/cpus/PowerPC,POWER9@0": {"device_type": text("cpu"), "reg": cell32(0)},
    }
    reservations = [(FDT_ADDRESS, FDT_SIZE), *((gpa, len(content)) for gpa, content in pieces)]
    tree = FlatTree(nodes, sorted(reservations))
    limits.check_tree_size(len(flat_tree.write(tree)), FDT_SIZE, bootargs)
    return flat_tree.write(tree, room=FDT_SIZE)


def _readable_noise(name: str, seed: int, size: int) -> bytes:
    """Return `size` bytes: a line that says what they are, a NUL, then noise made of the seed."""
    line = f"Linux version {RELEASE} (lab@pef) {name} #{seed}\n\0".encode()
    if size < len(line):
        message = f"{name} of {size} bytes: its first line alone has {len(line)}"
        raise ValueError(message)
    return line + hashlib.shake_256(f"{name} {seed}".encode()).digest(size - len(line))


def _next_page(address: int) -> Gpa:
    return Gpa(-(-address // PAGE_SIZE) * PAGE_SIZE)
