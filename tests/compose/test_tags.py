"""What `make images` builds: three images, each with a tag and a label for version and commit."""

import json
from typing import Final

import pytest

from compose.containers import output_of, ran
from pef_protocol.version import VERSION

IMAGES: Final = ("pef-ultravisor", "pef-hypervisor", "pef-lab")
LABEL: Final = "org.opencontainers.image."


@pytest.fixture(scope="module")
def commit() -> str:
    """Build the images; return the commit that their tags say."""
    lines = output_of("make", "-s", "images").splitlines()
    commits = {line.rpartition(":")[2] for line in lines}
    assert [line.split()[0] for line in lines] == [f"{image}:{VERSION}" for image in IMAGES]
    assert len(commits) == 1
    return commits.pop()


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_says_its_version_and_its_commit(image: str, commit: str) -> None:
    by_version, by_commit = (
        json.loads(output_of("docker", "image", "inspect", f"{image}:{tag}"))[0] for tag in (VERSION, commit)
    )
    assert by_version["Id"] == by_commit["Id"]
    labels = by_version["Config"]["Labels"]
    assert labels[f"{LABEL}title"] == image
    assert (labels[f"{LABEL}version"], labels[f"{LABEL}revision"]) == (VERSION, commit)
    head = ran("git", "rev-parse", "HEAD").stdout.strip()
    assert not head or head.startswith(commit.removesuffix("-dirty"))
