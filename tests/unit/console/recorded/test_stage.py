"""The stage over a list of entries: a cursor that goes to each entry, and makes no move of its own."""

import pytest

from pef_console.recorded.entries import NEXT, Entry, Recording, verdict
from pef_console.recorded.stage import RecordedStage
from pef_console.stage import CanCopy, Move, NotPossible, StageKind

OPEN = ({"actor": "vmm", "action": "hot-add"},)
BROKEN = (verdict("it", holds=False, sentence="it broke"),)
ENTRIES = [
    Entry("begins", "", calls=OPEN),
    Entry("breaks", "", calls=OPEN, verdicts=BROKEN),
    Entry("ends", ""),
]


@pytest.fixture
def stage() -> RecordedStage:
    return RecordedStage(Recording("three", ENTRIES, "the file"))


async def test_the_cursor_goes_forward_and_back(stage: RecordedStage) -> None:
    assert (stage.kind, stage.title, stage.observing_changes) == (StageKind.RECORDED, "three", False)
    at = [stage.frame()["node"]]
    for command in (stage.forward, stage.forward, stage.back, lambda: stage.move(Move.model_validate(NEXT))):
        await command()
        at.append(stage.frame()["node"])
    await stage.goto(3)
    assert [*at, stage.frame()["node"]] == [0, 1, 2, 1, 2, 3]


async def test_it_runs_to_what_is_wanted(stage: RecordedStage) -> None:
    await stage.run("violation")
    assert (stage.frame()["node"], stage.frame()["violated"]) == (2, True)
    with pytest.raises(NotPossible, match="Nothing from here on is broken"):
        await stage.run("violation")
    await stage.goto(0)
    await stage.run("quiescent")
    assert (stage.frame()["node"], stage.frame()["quiescent"]) == (3, True)
    await stage.goto(0)
    await stage.run("end")
    assert stage.frame()["node"] == 3
    with pytest.raises(NotPossible, match="This is the end of the recording"):
        await stage.run("end")


async def test_what_a_recording_has_not_is_not_possible(stage: RecordedStage) -> None:
    with pytest.raises(NotPossible, match="This is the start"):
        await stage.back()
    with pytest.raises(NotPossible, match="There is no node 4"):
        await stage.goto(4)
    with pytest.raises(NotPossible, match="its next entry is all that can be gone to"):
        await stage.move(Move(actor="guest 0", action="load", gfn=0))
    with pytest.raises(NotPossible, match="the recording has no bytes of GFN 1"):
        await stage.observe(1)
    await stage.goto(3)
    with pytest.raises(NotPossible, match="This is the end of the recording"):
        await stage.forward()
    assert not isinstance(stage, CanCopy)


async def test_the_file_itself_is_exported(stage: RecordedStage) -> None:
    assert (await stage.export("json")).text == "the file"
    for kind in ("mermaid", "counterexample", "curl"):
        with pytest.raises(NotPossible, match=f"this recording can't be exported as {kind}"):
            await stage.export(kind)
