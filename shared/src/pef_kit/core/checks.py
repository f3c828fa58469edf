"""Check orders: the checks of a call in order, each with the function that judges it.

A side writes one function per check; the order, the codes and which checks there are stand in the protocol's
table. A check without a function, or a function without a check, does not import.

The check `state` of a call with runs is the one exception: it is answered by the side's transition table.
"""

from collections.abc import Callable, Mapping
from typing import Final, Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from pef_kit.core.runs import Mask
from pef_protocol.calls import Reply
from pef_protocol.check_orders import Check

AskedT = TypeVar("AskedT")
Codes: TypeAlias = NDArray[np.int16]
STATE: Final = "state"


class MismatchedChecks(ValueError):
    """The functions that judge a call are not those of its checks."""


def answered_by_table(check: Check) -> bool:
    """Tell whether a check is answered by the transition table, rather than by a function."""
    return check.per_run and check.name == STATE


class CheckOrder(Generic[AskedT]):
    """The checks of one call with their functions.

    A function gets what was asked and tells whether it passes: one bool for the message or, of a check that
    judges each run, an array of bool with one element per run. It may rely on all earlier message checks.
    """

    def __init__(
        self, checks: tuple[Check, ...], functions: Mapping[str, Callable[[AskedT], bool | Mask]]
    ) -> None:
        wanted = {check.name for check in checks if not answered_by_table(check)}
        if wanted != set(functions):
            names = ", ".join(sorted(wanted ^ set(functions)))
            message = f"checks without a function, or functions without a check: {names}"
            raise MismatchedChecks(message)
        self.checks = tuple(check for check in checks if not answered_by_table(check))
        self._functions = functions

    def first_failing(self, asked: AskedT) -> Check | None:
        """Return the first check that refuses the message, or None."""
        return next((check for check in self.checks if not self._functions[check.name](asked)), None)

    def check_runs(self, asked: AskedT, runs: int) -> tuple[Check | None, Codes]:
        """Return the check that refuses the whole message, or None, and each run's code (0: passes).

        A message of which an earlier check refused every run is not refused as a whole.
        """
        codes = np.zeros(runs, np.int16)
        for check in self.checks:
            passes = self._functions[check.name](asked)
            if check.per_run and np.count_nonzero(passes) < runs:
                codes[(codes == 0) & ~np.asarray(passes, np.bool_)] = check.code
            elif not check.per_run and not passes:
                if runs and codes.all():
                    return None, codes
                codes[:] = check.code
                return check, codes
        return None, codes


def refuse(check: Check) -> Reply:
    """Return the reply to a message that `check` refuses."""
    return Reply(check.code, check=check.name)
