"""Observations and the verdicts that follow from them.

An observation is what somebody outside saw: bytes that guest or host read back over HTTP, or the two tables
laid side by side. Nothing here asks the code that is judged how it did.

| verdict | meaning |
|---|---|
| `ok` | seen as the protocol promises |
| `refused` | a side declined what the protocol says it does |
| `corrupt` | bytes that must not be there, or two tables that contradict each other |
| `error` | no answer of the protocol, or never reached |
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from pef_lab.failures import OperatorFault, Refusal


class Verdict(StrEnum):
    """How something came out, from best to worst."""

    OK = "ok"
    REFUSED = "refused"
    CORRUPT = "corrupt"
    ERROR = "error"


_WORSE: Final = list(Verdict)


@dataclass(frozen=True, slots=True)
class Observation:
    """One thing that was looked at, in plain words, and how it came out."""

    step: str
    verdict: Verdict
    what: str
    expected: str
    observed: str


@dataclass(slots=True)
class Findings:
    """All observations of one run, in the order in which they were made."""

    observations: list[Observation] = field(default_factory=list)
    _step: str = ""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Make observations under `name`; what goes wrong in the block becomes one itself and ends it.

        A fault of the machine or its operator is no observation, and is raised.
        """
        before, self._step = self._step, name
        try:
            yield
        except Refusal as refusal:
            self._step = name
            self.add(Verdict.REFUSED, f"{refusal.what} is answered", "success", str(refusal))
        except (OperatorFault, OSError, MemoryError):
            raise
        except Exception as failure:  # noqa: BLE001 - whatever failed is a finding; the run goes on
            self._step = name
            observed = f"{type(failure).__name__}: {failure}"
            self.add(Verdict.ERROR, "the step runs to its end", "no failure", observed)
        finally:
            self._step = before

    def add(self, verdict: Verdict, what: str, expected: str, observed: str) -> None:
        """Add an observation to the step."""
        self.observations.append(Observation(self._step, verdict, what, expected, observed))

    def see(self, what: str, expected: str, observed: str, *, ok: bool) -> bool:
        """Add what was seen, `ok` or else corrupt; return `ok`."""
        self.add(Verdict.OK if ok else Verdict.CORRUPT, what, expected, observed)
        return ok

    def verdict(self, step: str) -> Verdict:
        """Return the worst verdict of a step: `error` where nothing was observed at all."""
        seen = [each.verdict for each in self.observations if each.step == step]
        return max(seen, key=_WORSE.index) if seen else Verdict.ERROR
