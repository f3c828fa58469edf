"""Explores the template of lesson 10 as a student filled it, with bounds, in a process of its own.

The template is a design from outside: an entry point of `pef.designs` that `PEF_DESIGNS` names. So it is
written to a folder with the metadata of an installation, and a process is started that finds it there. A
student's file is never executed: only the words of the holes are put into our own template.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from pef_explorer.plan import IMAGES, Part, Plan
from pef_explorer.search.search import Search
from pef_explorer.session.errors import NotPossible
from pef_explorer.session.session import Session
from pef_kit.core.designs import NAMED_BY
from pef_lab.failures import OperatorFault
from pef_lessons import three_holes
from pef_lessons.script import make_moves
from pef_protocol.designs import DesignName

TEMPLATE: Final = Path(three_holes.__file__)
MOST_TRANSITIONS: Final = 20_000
"""Transitions of the search of one image; a design whose search is longer is not sound by this lesson."""
SECONDS: Final = 300.0
"""Seconds after which the process is stopped: far more than the search takes."""
DISTRIBUTION: Final = "pef_three_holes-1.0.dist-info"
PLUGGED_WHILE_SHARED: Final = (
    "guest 0: UV_ESM ...",
    "vmm: hot-add",
    "vmm: go on",
    "guest 0: share 1",
    *["guest 0: go on"] * 3,
    "vmm: go on",
    "guest 0: go on ...",
)
"""A slot is plugged in, and the guest shares its page before the Hypervisor reads that it is registered."""
OUT_WHILE_UV_ESM_FAILS: Final = (
    "vmm: host write 0 ...",
    "guest 0: UV_ESM with a bad image",
    *["guest 0: go on"] * 12,
    "vmm: host read 0 ...",
    "guest 0: go on ...",
)
"""A page goes out while H_SVM_INIT_ABORT is on its way."""
SCHEDULES: Final = {
    "a slot that is plugged in while the guest shares its page": PLUGGED_WHILE_SHARED,
    "a page that goes out while UV_ESM fails": OUT_WHILE_UV_ESM_FAILS,
}


@dataclass(frozen=True, slots=True)
class Explored:
    """What broke, a sentence each; the transitions that were made, and whether the search is complete."""

    broken: tuple[str, ...]
    transitions: int
    complete: bool


def filled(words: Mapping[str, str]) -> str:
    """Return the template with its holes filled; raise ValueError for a word that a hole can't have."""
    text = TEMPLATE.read_text(encoding="utf-8")
    for hole, choices in three_holes.HOLES.items():
        if words[hole] not in choices:
            message = f"{hole}: {words[hole]!r} is none of its words"
            raise ValueError(message)
        text = text.replace(f'{hole}: str = ""', f'{hole}: str = "{words[hole]}"')
    return text


def install(text: str, folder: Path) -> None:
    """Write a filled template into a folder so that it is found as an installed design is."""
    (folder / TEMPLATE.name).write_text(text, encoding="utf-8")
    described = folder / DISTRIBUTION
    described.mkdir(exist_ok=True)
    metadata = "Metadata-Version: 2.1\nName: pef-three-holes\nVersion: 1.0\n"
    (described / "METADATA").write_text(metadata, encoding="utf-8")
    entry = f"[pef.designs]\n{three_holes.NAME} = {TEMPLATE.stem}:THREE_HOLES\n"
    (described / "entry_points.txt").write_text(entry, encoding="utf-8")


def explore(words: Mapping[str, str]) -> Explored:
    """Explore the design with these words in its holes; raise OperatorFault where the process fails.

    A class hands in at most twelve designs: each is explored once in this process.
    """
    return _explored(tuple(words[hole] for hole in three_holes.HOLES))


@cache
def _explored(chosen: tuple[str, ...]) -> Explored:
    words = dict(zip(three_holes.HOLES, chosen, strict=True))
    with tempfile.TemporaryDirectory(prefix="pef-lesson-") as folder:
        install(filled(words), Path(folder))
        path = os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH", ""))))
        environment = {**os.environ, "PYTHONPATH": path, NAMED_BY: three_holes.NAME}
        command = [sys.executable, "-m", "pef_lessons.design_search"]
        try:
            ran = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=True
            )
        except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as fault:
            raise OperatorFault(f"the search of the design did not end as it should: {fault}") from None
    found = json.loads(ran.stdout)
    return Explored(tuple(found["broken"]), found["transitions"], found["complete"])


def searched(design: DesignName, most: int = MOST_TRANSITIONS) -> Iterator[tuple[list[str], int, bool]]:
    """Yield of each image of one GFN what the search with one call at a time breaks."""
    for image in IMAGES[1]:
        search = Search(Plan(design, image, plug=0, calls=1))
        search.go_on(lambda progress: progress.transitions >= most)
        found = search.found()
        broken = [f"{each.invariant}: {each.sentence}" for each in found.violations]
        yield broken, found.transitions, found.complete


def scheduled(design: DesignName) -> Iterator[str]:
    """Yield what the schedules with two calls at once break."""
    for name, lines in SCHEDULES.items():
        session = Session(Plan(design, (Part.BROUGHT,), plug=1))
        with suppress(NotPossible):  # the design may answer otherwise: then what is open may end
            make_moves(session, lines)
        frame = session.frame()
        if not frame.quiescent:
            frame = session.run("quiescent")
        yield from (
            f"{each.invariant}: {each.sentence} ({name})" for each in frame.verdicts if not each.holds
        )


def main() -> None:
    """Explore the design that `PEF_DESIGNS` names, and print what was found as JSON."""
    found = list(searched(three_holes.NAME))
    broken = [sentence for each, _, _ in found for sentence in each]
    if not broken:
        broken = list(scheduled(three_holes.NAME))
    result = {
        "broken": list(dict.fromkeys(broken)),
        "transitions": sum(made for _, made, _ in found),
        "complete": all(complete for _, _, complete in found),
    }
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main()
