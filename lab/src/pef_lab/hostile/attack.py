"""An attack as a row of a table, and how it is tried."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from pef_lab.failures import Refusal, Unanswered
from pef_lab.hostile.ground import Ground
from pef_lab.hostile.trial import Trial

LONGEST: Final = 60.0
"""Seconds that an attempt may take, beside the times that the Ultravisor gives a call up."""
WAITS: Final = 4
"""Times that an attempt may make the Ultravisor give up."""

Attempt: TypeAlias = Callable[[Trial], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Attack:
    """A row of the catalogue as it is tried: its number, one line of what is tried, and the attempt.

    One that is `slow` lasts until the Ultravisor gives a call up, and must know how long that is.
    """

    number: int
    tried: str
    attempt: Attempt = field(repr=False)
    slow: bool = False


async def attempted(ground: Ground, attack: Attack) -> Trial:
    """Try an attack and return what was seen; whatever a service does is noted there."""
    ground.begin_anew()
    trial = Trial(ground)
    longest = LONGEST + WAITS * ground.patience
    try:
        async with asyncio.timeout(longest):
            await ground.watch.answered_calls()
            used = await ground.watch.pools()
            await attack.attempt(trial)
            trial.nothing_passed()
            left = {side: pages - used[side] for side, pages in (await ground.watch.pools()).items()}
            trial.saw("secure pages left in use", f"{sum(left.values())}", "0")
    except Refusal as refusal:
        trial.troubled(f"an honest step was refused: {refusal}")
    except Unanswered as failure:
        trial.troubled(f"no answer: {failure}")
    except TimeoutError:
        trial.troubled(f"not done within {longest:g} s")
    if trial.never_came:
        trial.troubled(f"it never came to this: {', '.join(trial.never_came)}")
    return trial
