"""SPIN: the models written out, made into a program, and searched to the end.

One program searches all models: the first step chooses which one it is. The search is exhaustive, without
partial-order reduction. A search that was cut is an error, and so is one that found a state from which
nothing leads on, or an assertion of the models that does not hold.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from pef_lab.failures import OperatorFault
from pef_model.rest_state import RestState, Seen, Step
from pef_model.tables import Model, promela

TEXTS: Final = (
    "state",
    "from_hypervisor",
    "to_ultravisor",
    "from_ultravisor",
    "from_vmm",
    "from_guest",
    "esm",
    "world",
)
"""The texts of the models, in the order in which SPIN reads them."""
TOOLS: Final = ("spin", "gcc")
MAKE: Final = (
    ("spin", "-a", "models.pml"),
    # Not optimized: the function that makes a step is so large that this would take minutes.
    ("gcc", "-O0", "-w", "-DSAFETY", "-DNOREDUCE", "-o", "pan", "pan.c"),
)
SEARCH: Final = ("./pan", "-m1000000", "-w24")
"""At most a million steps deep; a hash table of 2^24 places, which has nothing to do with completeness."""
SECONDS: Final = 600
WHOLE: Final = "State-vector"
"""Begins the line in which the search says how deep it was, and how many errors it found."""


class MissingTool(OperatorFault):
    """A program that the models need is not installed."""

    def __init__(self, missing: Sequence[str]) -> None:
        names = " ".join(missing)
        super().__init__(f"{' and '.join(missing)} not found; install with: apt-get install {names}")


class NotSearched(OperatorFault):
    """SPIN did not search the models to their end."""


@dataclass(frozen=True, slots=True)
class Reached:
    """What SPIN saw of each model, and how many states it stored in all."""

    seen: tuple[Seen, ...]
    stored: int


def require_tools() -> None:
    """Raise MissingTool where a program is missing."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        raise MissingTool(missing)


def written_out(models: Sequence[Model]) -> str:
    """Return models as one text for SPIN."""
    texts = files("pef_model") / "promela"
    return "\n".join(
        [
            promela(models),
            *((texts / f"{text}.pml").read_text(encoding="ascii") for text in TEXTS),
        ]
    )


def reached(models: Sequence[Model], text: str | None = None) -> Reached:
    """Have SPIN search models to the end, and return what it reached; `text`: instead of theirs.

    Raise MissingTool where SPIN or gcc is not there, NotSearched where the search did not come to its end.
    """
    require_tools()
    with tempfile.TemporaryDirectory(prefix="pef-model-") as directory:
        (Path(directory) / "models.pml").write_text(text or written_out(models), encoding="ascii")
        for command in MAKE:
            _run(command, directory)
        return read(_run(SEARCH, directory), len(models))


def read(output: str, models: int) -> Reached:
    """Read what the search printed; raise NotSearched where it did not end, or ended with an error."""
    verdict = next((line for line in output.splitlines() if line.startswith(WHOLE)), "no verdict")
    stored = re.search(r"(\S+) states, stored", output)
    cut = re.search(r"^error: .*|.*(?:Search not completed|too small|out of memory).*", output, re.MULTILINE)
    if not verdict.endswith("errors: 0") or stored is None or cut:
        raise NotSearched(f"SPIN did not search the models to their end: {cut.group() if cut else verdict}")
    rows: dict[str, list[list[int]]] = {"rest": [], "step": []}
    for line in output.splitlines():
        word, *numbers = line.split() or [""]
        if word in rows:
            rows[word].append([*map(int, numbers)])
    at_rest = {number: (model, RestState(*state)) for number, model, *state in rows["rest"]}
    states: list[set[RestState]] = [set() for _ in range(models)]
    steps: list[set[Step]] = [set() for _ in range(models)]
    for model, state in at_rest.values():
        states[model].add(state)
    for one, other in rows["step"]:
        model, state = at_rest[one]
        steps[model].add((state, at_rest[other][1]))
    seen = zip(map(frozenset, states), map(frozenset, steps), strict=True)
    return Reached(tuple(Seen(*each) for each in seen), int(float(stored.group(1))))


def _run(command: Sequence[str], directory: str) -> str:
    """Run a command and return what it printed; raise NotSearched where it fails."""
    try:
        done = subprocess.run(
            command, cwd=directory, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise NotSearched(f"{command[0]} took more than {SECONDS} seconds") from None
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise NotSearched(f"{command[0]} failed: {' '.join(last) or f'status {done.returncode}'}")
    return done.stdout
