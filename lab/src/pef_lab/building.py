"""What `pef image build` does."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from pef_lab import image
from pef_lab.failures import WrongInput
from pef_lab.image import limits
from pef_lab.keeping import machine_key_at
from pef_lab.signals import run
from pef_lab.sizes import parse_size
from pef_lab.tables import console_for
from pef_protocol.esm_blob import BLOB_LIMIT


def build_into(
    directory: Path,
    size: str,
    machine_key: str | None,
    bootargs: str,
    attach: Iterable[str],
    seed: int,
    ultravisor_url: str | None,
) -> None:
    """Build an image into `directory`; raise WrongInput where it can't be."""
    key = _key(machine_key) if machine_key else run(machine_key_at(ultravisor_url))
    attached = _contents([_attached(each) for each in attach])
    try:
        built = image.build_image(
            memory_size=parse_size(size, "--size"),
            machine_public_key=key,
            bootargs=bootargs,
            files=attached,
            seed=seed,
        )
        image.save(built, directory)
    except ValueError as fault:
        raise WrongInput(f"no image: {fault}") from None
    except OSError as fault:
        raise WrongInput(f"{directory}: {fault.strerror}") from None
    console_for().print(
        f"{directory}: kernel at {built.kernel_base:#x}, device tree at {built.fdt_address:#x}",
        markup=False,
        soft_wrap=True,
    )


def _key(text: str) -> bytes:
    try:
        key = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        key = b""
    if len(key) != 32:  # noqa: PLR2004 - an X25519 public key
        raise WrongInput(f"--machine-key: {text!r} is not a public key of 32 bytes in hexadecimal")
    return key


def _attached(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise WrongInput(f"--attach: {text!r} is not NAME=PATH")
    return name, Path(path)


def _contents(paths: Sequence[tuple[str, Path]]) -> dict[str, bytes]:
    """Read the files to attach, no further than an ESM blob could hold them."""
    contents: dict[str, bytes] = {}
    size = 0
    try:
        limits.check_file_names(name for name, _ in paths)
    except ValueError as fault:
        raise WrongInput(f"--attach: {fault}") from None
    for name, path in paths:
        try:
            with path.open("rb") as file:
                contents[name] = file.read(BLOB_LIMIT + 1 - size)
        except OSError as fault:
            raise WrongInput(f"--attach: {path}: {fault.strerror}") from None
        size += len(contents[name])
        if size > BLOB_LIMIT:
            raise WrongInput(
                f"--attach: {path}: an ESM blob has at most {BLOB_LIMIT:,} bytes, files included"
            )
    return contents
