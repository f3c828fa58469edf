"""Says how long a run will take, before it begins, where that is more than half a minute.

The numbers were measured on two free cores; another machine has others, so they are said to be about.
"""

from typing import Final

from rich.console import Console

WORTH_SAYING: Final = 30.0
"""Seconds up to which nothing is said."""
STEP: Final = 10
"""Seconds to which a time below two minutes is rounded."""
IN_SECONDS: Final = 120
IN_MINUTES: Final = 7200

ROW: Final = 0.028
"""Seconds of a protocol row on one subject (1,904 took 54 s, with the starts of four subjects)."""
ATTACK: Final = 0.53
"""Seconds of an attack (64 attacks took 34 s)."""
DESIGN: Final = 2.3
"""Seconds of a design, beside the pages that are touched (6 designs took 14 s)."""
TOUCHED_GIBIBYTE: Final = 9.0
"""Seconds that a touched GiB of memory adds to a design (4 GiB took 36 s)."""
ACTION: Final = 0.00064
"""Seconds of an action of `pef simulate` in one process (24,000 actions took 15.4 s)."""
SMALL_DESIGN: Final = 70.0
"""Seconds that one process takes for a design of one GFN with the usual bounds of `pef explore` (110,316
transitions of `pushed` took 71 s)."""
TRANSITION: Final = 0.0007
"""Seconds of a transition of `pef explore` (the same run)."""


def say_how_long(console: Console, seconds: float) -> None:
    """Say about how long a run will take, where that is worth saying."""
    if seconds > WORTH_SAYING:
        console.print(f"this takes about {in_words(seconds)} on two free cores", style="dim", soft_wrap=True)


def say_that_nobody_knows(console: Console, advice: str) -> None:
    """Say that a run may take very long, and what bounds it."""
    console.print(f"how long this takes is not known, perhaps hours; {advice}", style="dim", soft_wrap=True)


def in_words(seconds: float) -> str:
    """Return a time as people say it, rounded: `40 seconds`, `3 minutes`, `2.5 hours`."""
    if seconds < IN_SECONDS:
        return f"{round(seconds / STEP) * STEP} seconds"
    if seconds < IN_MINUTES:
        return f"{round(seconds / 60)} minutes"
    return f"{seconds / 3600:.1f} hours".replace(".0 ", " ")
