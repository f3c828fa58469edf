"""The directory of normal memory: one process for each side, files of one form, nothing of an earlier run."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from pef_kit.runtime.volume import Misnamed, Volume, VolumeTaken
from pef_protocol.events import Side
from pef_protocol.identity import InstanceId

SIZE: Final = 1 << 20
ONE: Final = InstanceId("1" * 32)
OTHER: Final = InstanceId("2" * 32)
SETTINGS: Final = {
    "PEF_PEER_URL": "http://127.0.0.1:1",
    "PEF_NORMAL_MEMORY_SIZE": str(SIZE),
    "PEF_HYPERVISOR_TOKEN": "token-of-the-hypervisor",
    "PEF_ULTRAVISOR_TOKEN": "token-of-the-ultravisor",
    "PEF_OBSERVER_TOKEN": "token-of-the-observer",
    "PEF_VMM_TOKEN": "token-of-the-vmm",
    "PEF_GUEST_KEY": "key-of-the-guests",
}


@pytest.mark.parametrize("side", Side)
def test_a_second_process_of_a_side_does_not_start(side: Side, tmp_path: Path) -> None:
    """Given a process that is this side, When another starts, Then it ends with status 2 and says why."""
    first = Volume(tmp_path, side)
    second = subprocess.run(
        [Path(sys.executable).with_name(f"pef-{side}")],
        env=SETTINGS | {"PEF_NORMAL_MEMORY": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    first.close()
    assert (second.returncode, second.stdout) == (2, "")
    assert second.stderr == (
        f"another {side} holds {tmp_path}/{side}.lock: stop it, or give this one a directory of its own\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == [f"{side}.lock"]


def test_each_side_has_a_lock_of_its_own_and_gives_it_back(tmp_path: Path) -> None:
    hypervisor, ultravisor = Volume(tmp_path, Side.HYPERVISOR), Volume(tmp_path, Side.ULTRAVISOR)
    with pytest.raises(VolumeTaken, match="another hypervisor holds"):
        Volume(tmp_path, Side.HYPERVISOR)
    hypervisor.close()
    Volume(tmp_path, Side.HYPERVISOR).close()
    ultravisor.close()


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (tmp_path / "hypervisor.lock").symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"):
        Volume(tmp_path, Side.HYPERVISOR)
    assert not target.exists()


def test_what_one_run_writes_the_other_side_reads_and_the_next_run_does_not(tmp_path: Path) -> None:
    volume = Volume(tmp_path, Side.HYPERVISOR)
    made = volume.create(ONE, SIZE)
    made.view[:3] = b"old"
    assert bytes(volume.open(Volume.name_of(ONE), SIZE).view[:3]) == b"old"
    assert bytes(volume.create(OTHER, SIZE).view[:3]) == bytes(3)
    volume.remove_others(OTHER)
    assert {path.name for path in tmp_path.iterdir()} == {"hypervisor.lock", Volume.name_of(OTHER)}
    volume.remove(OTHER)
    assert {path.name for path in tmp_path.iterdir()} == {"hypervisor.lock"}
    volume.close()


def test_a_name_that_is_taken_is_not_made_again(tmp_path: Path) -> None:
    volume = Volume(tmp_path, Side.HYPERVISOR)
    volume.create(ONE, SIZE)
    with pytest.raises(FileExistsError):
        volume.create(ONE, SIZE)
    volume.close()


@pytest.mark.parametrize(
    "name",
    ["", ".", "hypervisor.lock", "/etc/passwd", f"../{Volume.name_of(ONE)}", Volume.name_of(ONE) + "\n"],
)
def test_a_name_of_another_form_is_not_looked_for(name: str, tmp_path: Path) -> None:
    volume = Volume(tmp_path, Side.ULTRAVISOR)
    with pytest.raises(Misnamed):
        volume.open(name, SIZE)
    volume.close()


def test_a_link_of_the_right_name_is_not_followed(tmp_path: Path) -> None:
    volume = Volume(tmp_path, Side.ULTRAVISOR)
    (tmp_path / "elsewhere").write_bytes(bytes(SIZE))
    (tmp_path / Volume.name_of(ONE)).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        volume.open(Volume.name_of(ONE), SIZE)
    volume.close()
