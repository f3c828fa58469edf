"""Attacks of a lying Hypervisor: a file of `pef hostile --json`, each answer and each observation."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from pef_console.recorded.entries import Entry, Recording, arrow, verdict
from pef_lab.hostile.trial import Outcome


class Seen(BaseModel):
    """An answer or an observation: what was promised, and what was seen."""

    model_config = ConfigDict(extra="ignore")

    what: str
    expected: str
    seen: str
    ok: bool
    times: int


class Attempt(BaseModel):
    """An attack, and what came of it."""

    model_config = ConfigDict(extra="ignore")

    attack: int
    tried: str
    outcome: Outcome
    trouble: str
    answers: tuple[Seen, ...]
    observations: tuple[Seen, ...]


class HostileFile(BaseModel):
    """The file."""

    model_config = ConfigDict(extra="ignore")

    attacks: tuple[Attempt, ...]


def is_hostile(content: Mapping[str, Any]) -> bool:
    """Tell whether a file is such a file: it has attacks, and those that were not tried."""
    return "attacks" in content and "not_tried" in content


def recording_of(content: Mapping[str, Any]) -> Recording:
    """Return the attacks; raise ValidationError where the file is not of its form."""
    found = HostileFile.model_validate(content)
    entries = [entry for number, each in enumerate(found.attacks, 1) for entry in _entries(number, each)]
    held = sum(each.outcome is Outcome.HELD for each in found.attacks)
    title = f"a lying Hypervisor: {held} of {len(found.attacks)} attacks held"
    return Recording(title, entries, json.dumps(content, indent=1))


def _entries(number: int, attempt: Attempt) -> Iterator[Entry]:
    """Yield what was tried, each answer, each observation, and the outcome."""
    name = f"attack {attempt.attack}"
    tried = arrow("hypervisor", "hypervisor", f"{name}: {attempt.tried}", "note", call=number)
    yield Entry(f"{name}: {attempt.tried}", "", arrows=(tried,))
    for each in attempt.answers:
        text = f"{each.what} {_times(each)}".rstrip()
        asked = arrow("hypervisor", "ultravisor", text, "ask", call=number, depth=1)
        answered = arrow(
            "ultravisor", "hypervisor", each.what, "answer", call=number, depth=1, code=each.seen
        )
        yield Entry(
            f"{name}: {each.what} is answered", each.seen, arrows=(asked, answered), verdicts=_verdict(each)
        )
    for each in attempt.observations:
        text = f"{each.what}: {each.seen} {_times(each)}".rstrip()
        observed = arrow("ultravisor", "ultravisor", text, "note", call=number)
        yield Entry(
            f"{name}: {each.what} is observed", each.seen, arrows=(observed,), verdicts=_verdict(each)
        )
    judged = attempt.outcome is not Outcome.TROUBLE
    holds = attempt.outcome is Outcome.HELD
    outcome = verdict(name, holds=holds, sentence=attempt.trouble or attempt.tried)
    yield Entry(f"{name}: outcome", str(attempt.outcome), verdicts=(outcome,) if judged else ())


def _verdict(each: Seen) -> tuple[Mapping[str, Any], ...]:
    return (verdict(each.what, holds=each.ok, sentence=f"expected {each.expected}; seen {each.seen}"),)


def _times(each: Seen) -> str:
    return f"({each.times} times)" if each.times > 1 else ""
