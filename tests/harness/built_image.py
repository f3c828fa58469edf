"""A guest image as the lab builds it, for a machine of the tests."""

import random

from pef_lab.image import GuestImage, build_image
from pef_ultravisor.machine_key import MachineKey

MIB = 1 << 20
FILES = {"disk-key": b"the secret of the disk"}
BOOTARGS = "console=hvc0 quiet"
machine = MachineKey.generate(bytes(32))


def image_of(
    seed: int = 1, memory_size: int = 16 * MIB, kernel_size: int = MIB, initrd_size: int = MIB // 2
) -> GuestImage:
    return build_image(
        memory_size=memory_size,
        machine_public_key=machine.public_bytes,
        bootargs=BOOTARGS,
        files=FILES,
        seed=seed,
        kernel_size=kernel_size,
        initrd_size=initrd_size,
        entropy=random.Random(seed).randbytes,
    )


IMAGE = image_of()
