"""The file of a run that failed: its seed, design and commit, and the few events that are needed."""

import json
from pathlib import Path
from typing import Any, Final

from pef_explorer.simulation.campaign import Shrunk
from pef_explorer.simulation.course import Failure
from pef_explorer.simulation.events import Seed, as_json, from_json
from pef_lab.failures import WrongInput
from pef_lab.known_designs import known_name
from pef_lab.output import write_file

FAMILY: Final = "pef-simulation/"
FORMAT: Final = FAMILY + "2"
FIELDS: Final = frozenset(
    {"format", "commit", "seed", "design", "steps", "invariant", "sentence", "round", "at", "kept"}
)


def written(found: Shrunk, commit_: str) -> str:
    """Return the text of the file of a failure."""
    content: dict[str, Any] = {
        "format": FORMAT,
        "commit": commit_,
        "seed": found.seed.number,
        "design": found.seed.design,
        "steps": found.seed.steps,
        "invariant": found.failure.invariant,
        "sentence": found.failure.sentence,
        "round": found.failure.round,
        "at": found.failure.at,
    }
    head = json.dumps(content, indent=2, ensure_ascii=False).removesuffix("\n}")
    kept = ",\n".join(f"    {json.dumps(as_json(each))}" for each in found.kept)
    return f'{head},\n  "kept": [\n{kept}\n  ]\n}}\n'


def save(found: Shrunk, directory: Path, commit_: str) -> Path:
    """Write the file of a failure into `directory` and return its path; raise WrongInput if it can't be."""
    path = directory / f"simulation-{found.seed.design}-{found.seed.number}-{found.failure.invariant}.json"
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise WrongInput(f"{directory}: {fault.strerror}") from None
    write_file(path, [written(found, commit_)])
    return path


def read(path: Path) -> Shrunk:
    """Read the file of a failure; raise WrongInput where it can't be read, or is none of this version."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise WrongInput(f"{path}: {fault.strerror}") from None
    except (ValueError, RecursionError):
        raise WrongInput(f"{path} is not JSON") from None
    version = str(content.get("format", "")) if isinstance(content, dict) else ""
    if version.startswith(FAMILY) and version != FORMAT:
        raise WrongInput(f"{path}: of another version: {version!r:.60}, where {FORMAT} is read here")
    if version != FORMAT:
        raise WrongInput(f"{path} is not a file of format {FORMAT}")
    if content.keys() != FIELDS:
        odd = ", ".join(sorted(content.keys() ^ FIELDS))
        raise WrongInput(f"{path}: a file of format {FORMAT} lacks or has too much: {odd}")
    try:
        seed = Seed(int(content["seed"]), known_name(content["design"]), int(content["steps"]))
        failure = Failure(*(content[name] for name in ("invariant", "sentence", "round", "at")))
        return Shrunk(seed, tuple(from_json(each) for each in content["kept"]), failure)
    except (ValueError, TypeError, KeyError, AttributeError) as fault:
        raise WrongInput(f"{path}: {fault}") from None
