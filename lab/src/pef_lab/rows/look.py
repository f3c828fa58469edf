"""What can be seen of a subject before and after a call that must change nothing.

With the observer's token it is each side's own digest, which covers every VM and every GFN, so neighbours
too. Without it, a scene makes calls and reads whose outcomes would differ if something had changed, and the
row says that it inferred.
"""

from dataclasses import dataclass

from pef_lab.rows.subject import Evidence


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen, as text that can be compared."""

    evidence: Evidence
    seen: tuple[str, ...]
