"""What the run of one design reports: what UV_ESM cost, and the verdicts with what was seen for each."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from pef_lab.designs.boot import Cost
from pef_lab.findings import Findings, Observation, Verdict
from pef_lab.output import write_file
from pef_protocol.designs import DesignName
from pef_protocol.events import Side

VERDICTS: Final = (
    "first_boot",
    "host_reads",
    "guest_reads",
    "reboot",
    "second_esm",
    "hot_add",
    "hot_remove",
    "share_unshare",
)


@dataclass(frozen=True, slots=True)
class DesignReport:
    """One design: its UV_ESM in seconds, messages, GFNs and bytes; one verdict a step; every observation.

    `cost` is None where UV_ESM did not come to its end.
    """

    name: DesignName
    cost: Cost | None
    verdicts: dict[str, Verdict]
    observations: tuple[Observation, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the report as the JSON object that `pef designs --json` writes."""
        cost = self.cost
        counted = cost.counted if cost else None
        kept = cost.bytes_per_gfn if cost else {}
        return {
            "name": self.name,
            "seconds": cost.seconds if cost else 0.0,
            "messages": {
                "ultracalls": counted.ultracalls if counted else 0,
                "hypercalls": counted.hypercalls if counted else 0,
            },
            "gfns_carried": counted.gfns_carried if counted else 0,
            "bytes_moved": counted.bytes_moved if counted else 0,
            "bytes_per_gfn": {
                "hypervisor": kept.get(Side.HYPERVISOR, 0.0),
                "ultravisor": kept.get(Side.ULTRAVISOR, 0.0),
            },
            "verdicts": {name: verdict.value for name, verdict in self.verdicts.items()},
            "observations": [asdict(each) for each in self.observations],
        }


def report_of(design: DesignName, cost: Cost | None, findings: Findings) -> DesignReport:
    """Draw up the report of a run."""
    verdicts = {name: findings.verdict(name) for name in VERDICTS}
    return DesignReport(design, cost, verdicts, tuple(findings.observations))


def write_json(path: Path, command: str, commit: str, reports: Iterable[DesignReport]) -> None:
    """Write reports to a file, with the command that made them and the commit that it ran at."""
    designs = [report.as_json() for report in reports]
    content = {"command": command, "commit": commit, "designs": designs}
    write_file(path, [json.dumps(content, indent=1), "\n"])
