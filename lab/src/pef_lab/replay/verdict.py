"""Whether what a replay shows bears its file out, as far as an observer can see what the file names."""

from collections.abc import Iterable
from typing import Final

from pef_lab.replay.counterexample import Counterexample
from pef_lab.replay.judge import JUDGED, OF_BYTES, Breach

NO_INVARIANT: Final = "none"
"""What the file of a schedule that breaks nothing names."""


def can_be_seen(found: Counterexample) -> bool:
    """Tell whether an observer can see the invariant broken that a file names; only bytes after a fault."""
    faulty = any(step.fault for step in found.steps[: found.violated_after])
    return found.invariant in (OF_BYTES if faulty else JUDGED)


def bears_out(found: Counterexample, breaches: Iterable[Breach]) -> bool:
    """Tell whether what was seen broken fits the invariant that a file names, as far as it can be seen."""
    seen = {breach.invariant for breach in breaches}
    if found.invariant == NO_INVARIANT:
        return not seen
    return found.invariant in seen or not can_be_seen(found)
