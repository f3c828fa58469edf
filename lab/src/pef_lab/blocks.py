"""A table that is split into blocks, one below the other, where its columns do not fit side by side."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

BORDER: Final = 1
GAP: Final = 3
"""Characters of a column beside its content: a space at each side, and a rule."""


@dataclass(slots=True)
class Blocks:
    """Rows and columns; the first column, which names the rows, stands in each block.

    No name and no number is ever cut or broken: a block holds as many columns as fit.
    """

    columns: Sequence[str]
    title: str = ""
    rows: list[tuple[Sequence[Text | str], bool]] = field(default_factory=list)

    def add_row(self, *cells: Text | str, end_section: bool = False) -> None:
        """Add a row: a cell for each column."""
        self.rows.append((cells, end_section))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """Yield as many tables as it takes."""
        title = self.title
        for block in self._split(options.max_width):
            table = Table(title=title or None, title_justify="left", title_style="bold", header_style="bold")
            title = ""
            for column in (0, *block):
                table.add_column(self.columns[column], justify="right" if column else "left", overflow="fold")
            for cells, end_section in self.rows:
                table.add_row(*(cells[column] for column in (0, *block)), end_section=end_section)
            yield table

    def _split(self, width: int) -> list[list[int]]:
        """Return the columns of each block."""
        first = _width_of([self.columns[0], *(cells[0] for cells, _ in self.rows)])
        blocks: list[list[int]] = [[]]
        taken = BORDER + first + GAP
        for column in range(1, len(self.columns)):
            wide = _width_of([self.columns[column], *(cells[column] for cells, _ in self.rows)]) + GAP
            if blocks[-1] and taken + wide > width:
                blocks.append([])
                taken = BORDER + first + GAP
            blocks[-1].append(column)
            taken += wide
        return blocks


def _width_of(cells: Sequence[Text | str]) -> int:
    lines = [line for cell in cells for line in str(cell).split("\n")]
    return max(Text(line).cell_len for line in lines)
