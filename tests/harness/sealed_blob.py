"""An ESM blob as an owner seals it for two machines."""

import random

from pef_lab.image import blob as owner
from pef_ultravisor.machine_key import MachineKey

PARTS = {"kernel": b"kernel" * 1000, "initrd": b"initrd", "rtas": b"rtas"}
PROMISE = owner.promise_of(**PARTS, bootargs="quiet")
FILES = {"disk-key": b"the secret of the disk", "etc/empty": b"", "n" * 64: b"\0\xff" * 500}
here = MachineKey.generate(bytes(32))
elsewhere = MachineKey.generate(b"\1" * 32)


def sealed_for(*keys: MachineKey, payload: bytes | None = None) -> bytes:
    drawn = random.Random(7)
    return owner.seal_payload(
        recipients=[key.public_bytes for key in keys],
        payload=owner.payload_tree(PROMISE, FILES) if payload is None else payload,
        payload_key=drawn.randbytes(32),
        nonce=drawn.randbytes(12),
    )


BLOB = sealed_for(elsewhere, here)
