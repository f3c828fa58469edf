"""What `pef step` opens: a system from the start, a counterexample, or a session that was saved."""

import json
from collections.abc import Sequence
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

from pef_explorer.plan import Extra, Part
from pef_explorer.session.files import plan_of_session
from pef_explorer.session.position import Mutated
from pef_explorer.session.saved import of_saved
from pef_explorer.session.session import Session
from pef_explorer.stepping.terminal import step_through
from pef_lab.failures import WrongInput
from pef_lab.known_designs import chosen_designs
from pef_lab.output import must_be_writable
from pef_lab.replay.counterexample import read
from pef_protocol.designs import Design, DesignName

FAULTS: Final = "pef.faults"
"""Entry points by which a session finds the deliberate fault that a file names."""
MOST_BYTES: Final = 16 << 20
"""Bytes of a file that is read."""
MOST_GFNS: Final = 8


def step(
    file: Path | None,
    design: Sequence[str] | None,
    image: str,
    plug: int,
    vcpus: int,
    extras: frozenset[Extra],
    save: Path | None,
) -> None:
    """Open a session, and let a person step through it; raise WrongInput, with nothing begun."""
    if save is not None:
        must_be_writable(save)
    chosen = _one_design(design)
    if file is None:
        plan = plan_of_session(chosen or Design.TRACKED, image_of(image), plug, vcpus, extras)
        step_through(Session(plan), save)
        return
    session = opened(file)
    step_through(session if chosen is None else on_design(session, chosen), save)


def on_design(session: Session, design: DesignName) -> Session:
    """Return the moves of a session on another design; all of them where its cursor is at the start."""
    if session.at == 0 and len(session.nodes) > 1:
        session.run("end")
    return session.copy(design=design)


def _one_design(names: Sequence[str] | None) -> DesignName | None:
    chosen = chosen_designs(names or (), {})
    if len(chosen) > 1:
        raise WrongInput("--design: one design is stepped through at a time; the key f changes it")
    return chosen[0] if chosen else None


def image_of(words: str) -> tuple[Part, ...]:
    """Return the parts of the GFNs of slot 0 that a list names; raise WrongInput for any other word."""
    names = words.split(",")
    if unknown := [name for name in names if name not in list(Part)]:
        raise WrongInput(f"--image: {unknown[0]!r} is none of {', '.join(Part)}")
    if len(names) > MOST_GFNS:
        raise WrongInput(f"--image: {len(names)} GFNs, of {MOST_GFNS} at most")
    return tuple(map(Part, names))


def opened(file: Path) -> Session:
    """Return a session of a file: one that was saved, or else a counterexample."""
    saved = _saved(file)
    if saved is None:
        found = read(file)
        return Session.of_file(found, mutated=fault_of(found.mutant) if found.mutant else None)
    try:
        return of_saved(saved, mutants=lambda name: fault_of(name)())
    except WrongInput as reason:
        raise WrongInput(f"{file}: {reason}") from None


def _saved(file: Path) -> dict[str, Any] | None:
    """Return the content of a file that says of itself that it is a session, of whatever version."""
    try:
        if file.stat().st_size > MOST_BYTES:
            raise WrongInput(f"{file}: over {MOST_BYTES >> 20} MiB: neither a counterexample nor a session")
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    is_session = isinstance(content, dict) and str(content.get("format", "")).startswith("pef-session/")
    return content if is_session else None


def fault_of(name: str) -> Mutated:
    """Return what puts the deliberate fault of a name into the machines; raise WrongInput without any."""
    for found in entry_points(group=FAULTS):
        known, mutated = found.load()
        known(name)
        return partial(mutated, name)
    raise WrongInput(f"the deliberate fault {name} is not to be had here: it takes pef-lab[explorer]")
