"""The guide of the tour shows one chapter, or all, and waits after each that is shown."""

import io

from rich.console import Console

from pef_lab.findings import Findings, Verdict
from pef_lab.guide import Guide


async def toured(only: int | None) -> tuple[list[str], int, list[bool]]:
    """Go through three chapters; return what was shown, how often was waited, and when all is shown."""
    waited: list[int] = []

    async def goes_on() -> None:
        waited.append(guide.chapters)

    shown = io.StringIO()
    guide = Guide(Console(file=shown, width=40), Findings(), only=only, goes_on=goes_on)
    ended = []
    for title in ("one", "two", "three"):
        guide.chapter(title, f"This is {title}.")
        guide.findings.add(Verdict.OK, title, "so", "so")
        guide.show_findings()
        await guide.end_chapter()
        ended.append(guide.has_ended)
    return shown.getvalue().split(), len(waited), ended


async def test_all_chapters_are_shown() -> None:
    words, waited, ended = await toured(None)
    assert [word for word in words if word in {"1.", "2.", "3."}] == ["1.", "2.", "3."]
    assert (words.count("✔"), waited, ended) == (3, 3, [False, False, False])


async def test_one_chapter_is_shown_with_its_findings_alone() -> None:
    words, waited, ended = await toured(2)
    assert [word for word in words if word in {"1.", "2.", "3."}] == ["2."]
    assert (words.count("✔"), "two:" in words, waited, ended) == (1, True, 1, [False, True, True])
