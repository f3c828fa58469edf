"""What came of the attacks, as a table and as JSON."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from pef_lab.hostile.attack import Attack
from pef_lab.hostile.trial import Look, Outcome, Trial
from pef_lab.output import write_file

STYLES: Final = {Outcome.HELD: "green", Outcome.BROKEN: "bold red", Outcome.TROUBLE: "bold magenta"}
SIGNS: Final = {Outcome.HELD: "✔", Outcome.BROKEN: "✘", Outcome.TROUBLE: "!"}
MOST: Final = 3
"""Observations of an attack that held that are shown; the JSON has them all."""


@dataclass(frozen=True, slots=True)
class Row:
    """An attack, and what came of it; seconds that it took."""

    attack: Attack
    trial: Trial
    seconds: float

    @property
    def outcome(self) -> Outcome:
        """Return what came of it."""
        return self.trial.outcome

    def as_json(self) -> dict[str, Any]:
        """Return the row as it stands in the JSON report."""
        return {
            "attack": self.attack.number,
            "tried": self.attack.tried,
            "outcome": self.outcome.value,
            "seconds": round(self.seconds, 3),
            "trouble": self.trial.trouble,
            "answers": [_look(look, times) for look, times in Counter(self.trial.answers).items()],
            "observations": [_look(look, times) for look, times in Counter(self.trial.looks).items()],
        }


def _look(look: Look, times: int) -> dict[str, Any]:
    return {**asdict(look), "ok": look.ok, "times": times}


def write_json(path: Path, rows: Iterable[Row], not_tried: Iterable[tuple[int, str]]) -> None:
    """Write the report."""
    content = {
        "attacks": [row.as_json() for row in rows],
        "not_tried": [{"attack": number, "why": why} for number, why in sorted(not_tried)],
    }
    write_file(path, [json.dumps(content, indent=1), "\n"])


def table_of(rows: Sequence[Row]) -> Table:
    """Return one line an attack: what was tried, answered, seen, and the verdict."""
    table = Table(header_style="bold", title="A lying Hypervisor", title_justify="left", title_style="bold")
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("tried, answered, seen afterwards")
    table.add_column("", no_wrap=True)
    for row in rows:
        verdict = Text(f"{SIGNS[row.outcome]} {row.outcome}", STYLES[row.outcome])
        lines = [
            row.attack.tried,
            *(f"  answered: {line}" for line in [_codes(row.trial.answers)] if line),
            *(f"  seen: {line}" for line in [_sights(row.trial)] if line),
        ]
        table.add_row(str(row.attack.number), Text("\n".join(lines)), verdict)
    return table


def _codes(answers: Iterable[Look]) -> str:
    """Return the codes that came, each with how often; one that was not promised with what was."""
    told = Counter(each.seen if each.ok else f"{each.seen} for {each.expected}" for each in answers)
    return ", ".join(code if times == 1 else f"{code} x{times}" for code, times in told.items())


def _sights(trial: Trial) -> str:
    """Return what was seen: all that must not be, or else the first few things that are as they must be."""
    wrong = dict.fromkeys(
        f"{each.what}: {each.seen}, not {each.expected}" for each in trial.looks if not each.ok
    )
    if trial.trouble:
        wrong[trial.trouble] = None
    if wrong:
        return "; ".join(wrong)
    seen = list(dict.fromkeys(f"{each.what}: {each.seen}" for each in trial.looks))
    more = f"; {len(seen) - MOST} more" if len(seen) > MOST else ""
    return "; ".join(seen[:MOST]) + more


def summary(rows: Sequence[Row]) -> str:
    """Return how many attacks held, and what the others did."""
    counted = Counter(row.outcome for row in rows)
    return ", ".join(f"{counted[outcome]} {outcome}" for outcome in Outcome if counted[outcome])
