"""What is in each image, read from inside: its own side and the words, and not a line of the other."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from compose.containers import ROOT, Project, inside, output_of

SOURCES = {
    "pef_protocol": "shared/src/pef_protocol",
    "pef_kit": "shared/src/pef_kit",
    "pef_ultravisor": "services/ultravisor/src/pef_ultravisor",
    "pef_hypervisor": "services/hypervisor/src/pef_hypervisor",
    "pef_lab": "lab/src/pef_lab",
    "pef_mutants": "lab/src/pef_mutants",
}
HOLDS = {
    "pef-ultravisor": {"pef_protocol", "pef_kit", "pef_ultravisor"},
    "pef-hypervisor": {"pef_protocol", "pef_kit", "pef_hypervisor"},
    "pef-lab": {"pef_protocol", "pef_kit", "pef_lab"},
    "pef-console": {"pef_protocol", "pef_kit", "pef_lab", "pef_ultravisor", "pef_hypervisor"},
}
DISTRIBUTION = {image: image for image in HOLDS} | {"pef-console": "pef-lab"}
"""What each image installs: the console is a part of the lab that needs both services."""
USERS = {
    "pef-ultravisor": "10001:10000",
    "pef-hypervisor": "10002:10000",
    "pef-lab": "10003:10003",
    "pef-console": "10003:10003",
}
SIDES = {"pef_ultravisor", "pef_hypervisor"}
LOOK = """
import hashlib, importlib.metadata, json, os, shutil
paths, digests = [], []
for folder, below, files in os.walk("/"):
    if folder == "/":
        below[:] = [each for each in below if each not in ("proc", "sys", "dev")]
    for name in below + files:
        paths.append(os.path.join(folder, name))
    for name in files:
        path = os.path.join(folder, name)
        if name.endswith(".py") and os.path.isfile(path):
            digests.append(hashlib.sha256(open(path, "rb").read()).hexdigest())
print(json.dumps({
    "paths": [path for path in paths if "pef" in path.lower()],
    "digests": digests,
    "distributions": [each.name for each in importlib.metadata.distributions()],
    "installers": [path for path in paths if path.endswith(("/pip/__main__.py", "/setuptools/__init__.py"))],
    "tools": [each for each in ("cc", "gcc", "clang", "ld", "make", "git") if shutil.which(each)],
    "caches": [path for path in (os.path.expanduser("~/.cache"), "/src", "/wheels") if os.path.exists(path)],
}))
"""


@pytest.fixture(scope="module", params=HOLDS)
def image(request: pytest.FixtureRequest, images: None) -> str:
    """Name an image that has been built."""
    return str(request.param)


@pytest.fixture(scope="module")
def images(pair: Project) -> None:
    """Have all images: `make up` builds the services', this the others."""
    built = pair.compose("--profile", "demo", "--profile", "console", "build", "--quiet")
    assert built.returncode == 0, built.stderr


@pytest.fixture(scope="module")
def seen(image: str) -> dict[str, Any]:
    """Look at every file of an image, as root."""
    found: dict[str, Any] = json.loads(inside(image, LOOK, "--network=none", "--user=0"))
    return found


def sources_of(packages: set[str]) -> dict[str, Path]:
    """Return the source files of packages that say anything, by digest."""
    files = [path for package in packages for path in (ROOT / SOURCES[package]).rglob("*.py")]
    return {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in files if path.stat().st_size}


def test_an_image_holds_its_own_side_as_it_is_here(image: str, seen: dict[str, Any]) -> None:
    """Given an image.

    When its files are compared with the sources here,
    then its own side is in it as it is here.
    """
    own = sources_of(HOLDS[image])
    assert not [path for digest, path in own.items() if digest not in seen["digests"]]
    assert DISTRIBUTION[image] in seen["distributions"]


def test_no_image_holds_a_line_of_a_side_that_is_not_its_own(image: str, seen: dict[str, Any]) -> None:
    """Given an image.

    When its files are compared with the sources here,
    then nothing of another side is in it.
    """
    foreign = SOURCES.keys() - HOLDS[image]
    assert SIDES & foreign or image == "pef-console"
    theirs = sources_of(foreign)
    assert not [path for digest, path in theirs.items() if digest in seen["digests"]]
    names = {name for each in foreign for name in (each, each.replace("_", "-"))}
    assert not [path for path in seen["paths"] if any(name in path for name in names)]
    assert not {each.replace("_", "-") for each in foreign} & set(seen["distributions"])


def test_no_image_has_a_design_from_outside(seen: dict[str, Any]) -> None:
    example = ROOT / "docs" / "examples" / "own_design" / "own_design.py"
    assert hashlib.sha256(example.read_bytes()).hexdigest() not in seen["digests"]
    assert "pef-own-design" not in seen["distributions"]


def test_no_image_has_what_made_it(seen: dict[str, Any]) -> None:
    """Given an image, when its tools are listed, then no installer, compiler or cache is in it."""
    assert (seen["installers"], seen["tools"], seen["caches"]) == ([], [], [])


def test_an_image_runs_as_a_user_of_its_own_and_names_no_token(image: str, pair: Project) -> None:
    """Given an image.

    When the engine inspects it,
    then it runs as a user of its own, and no token is in it.
    """
    inspected = output_of("docker", "image", "inspect", image)
    history = output_of("docker", "history", "--no-trunc", image)
    assert json.loads(inspected)[0]["Config"]["User"] == USERS[image]
    assert not [name for name, token in pair.tokens.items() if token in inspected + history]
    variables = json.loads(inspected)[0]["Config"]["Env"]
    assert not [each for each in variables if "TOKEN" in each or "KEY" in each]
