"""Every path and module that a page names is in the tree."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[3]
PAGES: Final = (
    *sorted(ROOT.glob("*.md")),
    *(page for page in sorted((ROOT / "docs").glob("*.md")) if page.name != "glossary.md"),
)
SOURCES: Final = {
    "pef_protocol": ROOT / "shared/src",
    "pef_kit": ROOT / "shared/src",
    "pef_ultravisor": ROOT / "services/ultravisor/src",
    "pef_hypervisor": ROOT / "services/hypervisor/src",
    "pef_lab": ROOT / "lab/src",
    "pef_explorer": ROOT / "lab/src",
    "pef_mutants": ROOT / "lab/src",
    "pef_lessons": ROOT / "lab/src",
}
SIDES: Final = (SOURCES["pef_ultravisor"] / "pef_ultravisor", SOURCES["pef_hypervisor"] / "pef_hypervisor")
PATH: Final = re.compile(r"(?<![\w./-])((?:shared|services|lab|tests|docs|\.ci)/[\w./-]*)")
MODULE: Final = re.compile(r"`(pef_\w+(?:\.\w+)+)`")
FILE: Final = re.compile(r"`(pef_\w+/[\w./]+)`")
PLACEHOLDERS: Final = frozenset({"docs/counterexamples/FILE"})


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def paths_in(text: str) -> Iterator[Path]:
    """Yield each path from the root of the repository that is named in code, in a link or in a block."""
    for found in PATH.findall(re.sub(r"https?://\S+", "", text)):
        if found not in PLACEHOLDERS:
            yield ROOT / found.rstrip(".")
    for found in FILE.findall(text):
        package = found.partition("/")[0]
        yield SOURCES[package] / found
    for found in MODULE.findall(text):
        package = found.partition(".")[0]
        yield SOURCES[package] / found.replace(".", "/")


def is_there(path: Path) -> bool:
    return path.exists() or path.with_suffix(".py").exists()


def rows_of_both_sides() -> list[list[str]]:
    """Return the rows of the table of ARCHITECTURE.md that says which files both services have."""
    table = text_of(ROOT / "ARCHITECTURE.md").partition("| path in the package |")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in table.splitlines()[2:]]
    assert rows
    return rows


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_that_a_page_names_is_there(page: Path) -> None:
    assert (
        sorted({str(path.relative_to(ROOT)) for path in paths_in(text_of(page)) if not is_there(path)}) == []
    )


def test_both_services_have_the_files_that_the_architecture_says_they_have() -> None:
    missing = set()
    for path, *columns in rows_of_both_sides():
        named = [name for name in re.findall(r"`([^`<>]+)`", path) if name.endswith((".py", "/"))]
        for side, column in zip(SIDES, columns, strict=True):
            folder = side / named[0] if len(named) == 1 and named[0].endswith("/") else side
            wanted = [] if column == "-" else [side / name for name in named]
            wanted += [folder / name for name in re.findall(r"`([\w]+(?:\.py|/))`", column)]
            missing |= {str(each.relative_to(ROOT)) for each in wanted if not each.exists()}
    assert sorted(missing) == []


def test_a_path_that_is_not_there_is_seen() -> None:
    text = "`shared/src/no_such.py`, `pef_kit.no_such`, `pef_lab/no_such.py`, [x](docs/no_such.md), https://x/docs/y"
    assert [is_there(path) for path in paths_in(text)] == [False] * 4
