"""Write the pages of `docs/lessons/` from the lessons themselves. Run `make docs`."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from pef_lessons.all_lessons import LESSONS
from pef_lessons.pages import index, page_name, page_of

FOLDER: Final = Path(__file__).parent / "lessons"
PAGES: Final[dict[Path, Callable[[], str]]] = {
    FOLDER / "README.md": index,
    **{FOLDER / page_name(lesson): partial(page_of, lesson) for lesson in LESSONS.values()},
}

if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for where, write in PAGES.items():
        where.write_text(write(), encoding="utf-8")
