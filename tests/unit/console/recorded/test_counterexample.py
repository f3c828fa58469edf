"""Each committed counterexample, stepped to its end: tables and invariant are those of the file."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pef_console.machines import Machines
from pef_console.model import ModelStage, open_model
from pef_console.recorded.counterexample import FORK, RecordedCounterexample, mutation, open_counterexample
from pef_console.routes.opening import OpenModel
from pef_console.stage import Move, NotPossible, StageKind
from pef_lab.failures import WrongInput
from pef_lab.replay.counterexample import Counterexample, read

FOLDER = Path(__file__).parents[4] / "docs" / "counterexamples"
FILES = sorted(FOLDER.glob("*.json"))
OF_MUTANTS = sorted((FOLDER / "mutants").glob("*.json"))
MOST = 1000
FOUND = read(FOLDER / "broken-the-tables-agree.json")


def nobody(kind: str, content: object) -> None:
    """Publish to nobody."""


@pytest.fixture
async def machines() -> AsyncIterator[Machines]:
    found = Machines()
    yield found
    found.close()


def tables_of(stage: ModelStage) -> dict[str, tuple[str, str]]:
    """Return the states of each GFN as the frame has them."""
    return {
        str(gfn): (run["hypervisor"], run["ultravisor"])
        for run in stage.frame()["gfns"]
        for gfn in range(run["first"], run["first"] + run["count"])
    }


async def comes_out(found: Counterexample, stage: RecordedCounterexample) -> None:
    """Step to where it is violated, and to the end; tables and verdict must be the file's."""
    for _ in range(found.violated_after):
        (move,) = stage.frame()["moves"]
        await stage.move(Move(**{name: move[name] for name in ("actor", "action", "gfn", "fault")}))
    frame = stage.frame()
    assert frame["stopped"] == ""
    assert {gfn: states for gfn, states in tables_of(stage).items() if gfn in found.tables} == found.tables
    broken = [each["invariant"] for each in frame["verdicts"] if not each["holds"]]
    assert found.invariant in broken
    assert frame["violated"]
    if found.violated_after < len(found.steps):
        await stage.run("end")
    assert (stage.frame()["node"], stage.frame()["moves"]) == (len(found.steps), [])


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.stem))
async def test_a_counterexample_comes_out_as_its_file_says(machines: Machines, file: Path) -> None:
    found = read(file)
    await comes_out(found, await open_counterexample(machines, MOST, found))


@pytest.mark.verify
@pytest.mark.parametrize("file", OF_MUTANTS, ids=lambda file: str(file.stem))
async def test_a_counterexample_of_a_mutant_comes_out_as_its_file_says(
    machines: Machines, file: Path
) -> None:
    found = read(file)
    await comes_out(found, await open_counterexample(machines, MOST, found))


async def test_the_next_step_is_its_only_move(machines: Machines) -> None:
    stage = await open_counterexample(machines, MOST, FOUND)
    assert (stage.kind, stage.title, stage.frame()["nodes"]) == (StageKind.RECORDED, FOUND.title, 13)
    for other in (Move(actor="guest 0", action="load", gfn=0), Move(actor="vmm", action="hot-add")):
        with pytest.raises(NotPossible, match=FORK):
            await stage.move(other)
    await stage.run("end")
    with pytest.raises(NotPossible, match=FORK):
        await stage.move(Move(actor="guest 0", action="load", gfn=0))
    assert stage.frame()["nodes"] == 13


async def test_it_runs_to_where_it_breaks_and_to_where_nothing_is_open(machines: Machines) -> None:
    stage = await open_counterexample(machines, MOST, FOUND)
    await stage.run("violation")
    assert stage.frame()["node"] == FOUND.violated_after
    await stage.goto(0)
    await stage.run("quiescent")
    assert stage.frame()["quiescent"]
    assert stage.frame()["nodes"] == 13


async def test_a_copy_goes_on_in_the_model(machines: Machines) -> None:
    stage = await open_counterexample(machines, MOST, FOUND)
    copy = await stage.copied(3, "tracked", nobody)
    assert (copy.kind, copy.frame()["node"], copy.frame()["design"]) == (StageKind.MODEL, 3, "tracked")
    await copy.move(Move(actor="guest 0", action="go on"))
    assert (copy.frame()["nodes"], stage.frame()["nodes"]) == (5, 13)


async def test_a_mutant_of_one_session_does_not_act_in_another_one(machines: Machines) -> None:
    """A session of sound code makes the moves of a mutant's file, by turns with that file."""
    found = read(FOLDER / "mutants" / "imported-kept.json")
    recorded = await open_counterexample(machines, MOST, found)
    sound = await open_model(machines, MOST, OpenModel(stage="model", design=found.design))
    alone = await open_model(machines, MOST, OpenModel(stage="model", design=found.design))
    moves = [Move(actor="guest 0", action="UV_ESM"), *[Move(actor="guest 0", action="go on")] * 8]
    for move in moves:
        await alone.move(move)
    for move in moves:
        await recorded.forward()
        await sound.move(move)
    assert json.dumps(sound.frame()) == json.dumps(alone.frame())


async def test_a_file_that_is_too_long_or_of_an_unknown_mutant_is_wrong_input(machines: Machines) -> None:
    with pytest.raises(WrongInput, match="it has 12 steps, and a session has at most 5 moves"):
        await open_counterexample(machines, 5, FOUND)
    with pytest.raises(WrongInput, match="there is no mutant 'K99'; there are D2b"):
        mutation("K99")
    with pytest.raises(WrongInput, match="K99"):
        await open_counterexample(machines, MOST, FOUND.model_copy(update={"mutant": "K99"}))
