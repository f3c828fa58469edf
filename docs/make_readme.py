"""Write the blocks of README.md that quote `pef demo`: one page as two sides see it, the table of designs.

Run `make docs-readme` after a change of what the tour prints. A test compares the blocks with the tour that
it runs, except for what differs from run to run: ciphertext, and the times of UV_ESM.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

README: Final = Path(__file__).parents[1] / "README.md"
NAMES: Final = ("one-page", "designs")
BOX: Final = re.compile(r"[┏┓┗┛┡┩├┤└┘┳╇┼┴━─┃│╭╮╰╯\s]+")
TWO_PANELS: Final = 2
OTHER_BYTES: Final = "(bytes that differ from run to run)"


def chapter(printed: str, title: str) -> list[str]:
    """Return the lines of one chapter of the tour, its heading included.

    Raise ValueError where the tour has no such chapter.
    """
    lines = [line.rstrip() for line in printed.splitlines()]
    starts = [at for at, line in enumerate(lines) if re.match(r"\d+\. .*──", line)]
    for at, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        if f". {title} ─" in lines[at]:
            found = lines[at:end]
            found[0] = found[0].rstrip("─") + "─" * 4
            return found
    raise ValueError(f"the tour has no chapter {title!r}")


def one_page(printed: str) -> str:
    """Return the chapters that show one page to guest and host, the second up to the host's first look."""
    normal = chapter(printed, "A normal VM")
    views = chapter(printed, "One page, two views")
    panels = [at for at, line in enumerate(views) if line.startswith("╭")]
    return "\n".join([*normal, *views[: panels[1]]]).strip()


def designs(printed: str) -> str:
    """Return the table of designs."""
    lines = chapter(printed, "Five designs, one question, one repair")
    first = next(at for at, line in enumerate(lines) if line.startswith("VM of"))
    last = next(at for at, line in enumerate(lines) if line.startswith("└"))
    return "\n".join(lines[first : last + 1])


def blocks(printed: str) -> dict[str, str]:
    """Return what each block of the README should show, from what `pef demo` printed."""
    return dict(zip(NAMES, (one_page(printed), designs(printed)), strict=True))


def quoted(page: str, name: str) -> str:
    """Return what a page shows in a block.

    Raise ValueError where the page has no such block.
    """
    found = re.search(rf"<!-- pef demo: {name} -->\n```\n(.*?)\n```\n<!-- end -->", page, re.DOTALL)
    if found is None:
        raise ValueError(f"README.md has no block {name!r}")
    return found[1]


def cells(line: str) -> list[str]:
    """Return the cells of a line, with what differs from run to run replaced."""
    found = (
        [cell.strip() for cell in re.split("[│┃]", line) if cell.strip()] if "│" in line else [line.strip()]
    )
    if found and found[0] == "UV_ESM":
        return found[:1]
    if len(found) == TWO_PANELS and found[0] != found[1] and not found[1].startswith("="):
        return [found[0], OTHER_BYTES]
    return found


def lasting(block: str) -> list[list[str]]:
    """Return a block as cells, without what differs from run to run and without the widths of columns."""
    words = (cells(line) for line in block.splitlines() if BOX.sub("", line))
    return [[BOX.sub(" ", cell).strip() for cell in line] for line in words]


def main() -> None:
    """Write each block that shows something else than the tour does today."""
    pef = Path(sys.executable).with_name("pef")
    ran = subprocess.run([pef, "demo"], capture_output=True, text=True, check=True)  # noqa: S603 - our own
    page = README.read_text(encoding="utf-8")
    for name, block in blocks(ran.stdout).items():
        shown = quoted(page, name)
        if lasting(shown) != lasting(block):
            page = page.replace(shown, block)
    README.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
