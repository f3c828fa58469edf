"""Write the pages of `docs/counterexamples/` from the files in that folder: each file as a diagram.

Run `make docs`. `pef explore --keep docs/counterexamples` writes the files of the designs; those of the
mutants come from `PYTHONPATH=tests python -m mutants.search --keep docs/counterexamples/mutants`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from pef_lab.replay import drawing
from pef_lab.replay.counterexample import Counterexample, read

FOLDER: Final = Path(__file__).parent / "counterexamples"
MUTANTS: Final = FOLDER / "mutants"

OF_DESIGNS: Final = """# Counterexamples

For readers of [the question](../the-question.md). Each file is the shortest sequence of steps that breaks one
invariant under one design. It was found by exhaustive search over the services' own code. `pef replay FILE`
plays it over HTTP against both services, and compares every step. `pef trace FILE` draws it in a terminal.
`make docs` writes this page from the files.
"""
OF_MUTANTS: Final = """# Counterexamples of the mutants

Defects of the real firmware (D) and of the real kernel (K) were put into our own services, one at a time. The
explorer found each of them under `tracked`, which is sound without them. Each file is the shortest sequence
of steps, of those that were found, that breaks an invariant. On sound code the same steps break nothing.
`make docs` writes this page from the files.
"""


def files_in(folder: Path) -> list[Path]:
    """Return the counterexamples of a folder, by name."""
    return sorted(folder.glob("*.json"))


def contents(folder: Path) -> str:
    """Return a table of the counterexamples of a folder."""
    rows = ["| file | design | invariant | steps | what is seen |", "|---|---|---|---|---|"]
    for file in files_in(folder):
        found = read(file)
        rows.append(
            f"| [{file.name}]({file.name}) | {found.mutant or found.design} | {found.invariant} "
            f"| {found.violated_after} | {found.sentence} |"
        )
    return "\n".join(rows) + "\n"


def section(file: Path, found: Counterexample) -> str:
    """Return one counterexample as a section with its diagram."""
    drawn = "\n".join(drawing.mermaid(found))
    return (
        f"\n## {found.title}\n\n{found.sentence}. {found.violated_after} steps, in `{file.name}`; "
        f"found by `{found.found_by.command}`.\n\n```mermaid\n{drawn}\n```\n"
    )


def page(folder: Path, head: str) -> str:
    """Return the page of a folder."""
    return f"{head}\n{contents(folder)}" + "".join(section(file, read(file)) for file in files_in(folder))


PAGES: Final[dict[Path, Callable[[], str]]] = {
    FOLDER / "README.md": lambda: page(FOLDER, OF_DESIGNS),
    MUTANTS / "README.md": lambda: page(MUTANTS, OF_MUTANTS),
}

if __name__ == "__main__":
    for where, write in PAGES.items():
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_text(write(), encoding="utf-8")
