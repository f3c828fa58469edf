"""Guest images as plain files: one for each part, and `image.json`, which says where each lies."""

import json
from dataclasses import asdict
from pathlib import Path

from pef_lab.image.build import GuestImage
from pef_protocol.quantities import Gpa

MANIFEST = "image.json"
FORMAT = 1
FILES = {
    "kernel": "kernel.bin",
    "device_tree": "device-tree.dtb",
    "rtas": "rtas.bin",
    "initrd": "initrd.cpio",
    "esm_blob": "esm-blob.dtb",
}


def save(image: GuestImage, directory: Path) -> None:
    """Write `image` into `directory`, which is made where it is missing."""
    directory.mkdir(parents=True, exist_ok=True)
    fields = asdict(image)
    for part, file_name in FILES.items():
        (directory / file_name).write_bytes(fields.pop(part))
    manifest = {"format": FORMAT, **fields, "files": FILES}
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def load(directory: Path) -> GuestImage:
    """Read the image that `save` wrote into `directory`.

    Raises ValueError for a manifest of another format, FileNotFoundError for a missing part.
    """
    manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        message = f"{MANIFEST}: not format {FORMAT}"
        raise ValueError(message)
    return GuestImage(
        memory_size=int(manifest["memory_size"]),
        kernel_base=Gpa(int(manifest["kernel_base"])),
        fdt_address=Gpa(int(manifest["fdt_address"])),
        rtas_address=Gpa(int(manifest["rtas_address"])),
        initrd_address=Gpa(int(manifest["initrd_address"])),
        esm_blob_address=Gpa(int(manifest["esm_blob_address"])),
        **{part: (directory / file_name).read_bytes() for part, file_name in FILES.items()},
    )
