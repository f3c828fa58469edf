"""Check ladders: the rungs of a call, each with the function that checks it, climbed in order.

A side writes one check a rung; the order, the codes and which rungs there are stand in the protocol's own
table. A ladder with a rung that nobody checks, or a check that no rung asks for, does not import.

The rung `state` of a call with runs is the one exception: it is answered by the side's transition table.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from pef_kit.spans import Mask
from pef_protocol.calls import Call, Reply
from pef_protocol.ladders import Rung

AskedT = TypeVar("AskedT")
Codes: TypeAlias = NDArray[np.int16]
STATE: Final = "state"


class MismatchedLadder(ValueError):
    """The checks of a call are not those of its rungs."""


def judged_by_table(rung: Rung) -> bool:
    """Tell whether a rung is answered by the transition table rather than by a check."""
    return rung.per_run and rung.name == STATE


class Ladder(Generic[AskedT]):
    """The rungs of one call with their checks.

    A check gets what was asked and tells whether it passes: one bool for the message or, on a rung that
    judges each run, an array of bool with an element a run. It may rely on all earlier message rungs.
    """

    def __init__(
        self, rungs: tuple[Rung, ...], checks: Mapping[str, Callable[[AskedT], bool | Mask]]
    ) -> None:
        wanted = {rung.name for rung in rungs if not judged_by_table(rung)}
        if wanted != set(checks):
            message = f"unchecked or unknown rungs: {', '.join(sorted(wanted ^ set(checks)))}"
            raise MismatchedLadder(message)
        self.rungs = tuple(rung for rung in rungs if not judged_by_table(rung))
        self._checks = checks

    def climb(self, asked: AskedT) -> Rung | None:
        """Return the first rung that refuses the message, or None."""
        return next((rung for rung in self.rungs if not self._checks[rung.name](asked)), None)

    def climb_runs(self, asked: AskedT, runs: int) -> tuple[Rung | None, Codes]:
        """Return the rung that refuses the whole message, or None, and each run's code (0: passes).

        A message of which an earlier rung refused every run is not refused as a whole.
        """
        codes = np.zeros(runs, np.int16)
        for rung in self.rungs:
            passes = self._checks[rung.name](asked)
            if rung.per_run and np.count_nonzero(passes) < runs:
                codes[(codes == 0) & ~np.asarray(passes, np.bool_)] = rung.code
            elif not rung.per_run and not passes:
                if runs and codes.all():
                    return None, codes
                codes[:] = rung.code
                return rung, codes
        return None, codes


def refuse(check: Rung) -> Reply:
    """Return the reply to a message that `check` refuses."""
    return Reply(check.code, check=check.name)


def with_check(call: Call, reply: Reply) -> Reply:
    """Return `reply` with the name of the check that refused, where its code tells which that was."""
    if reply.check or reply.code.succeeded or reply.code in call.later:
        return reply
    refusing = {check.name for check in call.ladder if check.code is reply.code}
    return replace(reply, check=refusing.pop()) if len(refusing) == 1 else reply
