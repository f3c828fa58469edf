"""The initrd of the guest image."""

import pytest

from harness.built_image import IMAGE
from pef_lab.image.initrd import build_initrd


def test_the_initrd_is_a_cpio_archive() -> None:
    found = {}
    place = 0
    while True:
        header = IMAGE.initrd[place : place + 110]
        assert header[:6] == b"070701"
        mode, size, name_size = (int(header[start : start + 8], 16) for start in (14, 54, 94))
        content_place = -(-(place + 110 + name_size) // 4) * 4
        name = IMAGE.initrd[place + 110 : place + 109 + name_size].decode()
        if name == "TRAILER!!!":
            break
        found[name] = (mode, IMAGE.initrd[content_place : content_place + size])
        place = content_place + -(-size // 4) * 4
    assert list(found) == ["init", "etc/hostname", "etc/os-release", "var/filler"]
    assert found["init"][0] == 0o100755
    assert found["init"][1].startswith(b"#!/bin/sh\n")
    assert set(IMAGE.initrd[content_place:]) <= {0}
    assert len(found["var/filler"][1]) > 500_000


def test_an_initrd_needs_filler() -> None:
    with pytest.raises(ValueError, match="0 are at hand"):
        build_initrd(size=4096, release="1", filler=b"")
