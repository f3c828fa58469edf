"""A file of a counterexample, with what a test changes of it."""

import json
from pathlib import Path
from typing import Any

from pef_lab.replay.counterexample import FORMAT


def step(
    actor: str, action: str, leads_to: str, gfn: int | None = None, fault: str | None = None
) -> dict[str, Any]:
    return {"actor": actor, "action": action, "gfn": gfn, "fault": fault, "leads_to": leads_to}


def content(**changes: Any) -> dict[str, Any]:
    steps = [
        step("guest 0", "share", "asks H_SVM_PAGE_IN", 0),
        step("memory", "unmap", "ends OK", 0),
        step("guest 0", "go on", "answers H_BUSY", fault="busy"),
        step("guest 0", "go on", "waits"),
        step("guest 0", "go on", "ends U_PARAMETER"),
    ]
    return {
        "format": FORMAT,
        "title": "a share that is told busy",
        "design": "tracked",
        "mutant": None,
        "invariant": "every_call_ends",
        "sentence": "it goes on; for ever",
        "found_by": {"command": "pef explore", "commit": "abc1234"},
        "system": {"image": ["unmigrated"], "plug": 1, "vcpus": 1},
        "steps": steps,
        "violated_after": 4,
        "tables": {"0": ["NORMAL", "nothing"], "1": ["nothing", "nothing"]},
        "observations": {
            "0": {"guest": "zero", "host": "zero"},
            "1": {"guest": "refused", "host": "refused"},
        },
        **changes,
    }


def written(file: Path, **changes: Any) -> Path:
    file.write_text(json.dumps(content(**changes)))
    return file
