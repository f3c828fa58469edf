"""The model stage: moves of the explorer's session, and 409 for what can't be."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pef_console.followers import Followers
from pef_console.machines import Machines
from pef_console.model import ModelStage, open_model
from pef_console.routes.opening import OpenModel, SystemWanted
from pef_console.session import ConsoleSession
from pef_console.stage import CanCopy, Move, NotPossible, Stage, StageKind
from pef_lab.failures import WrongInput
from pef_lab.replay.counterexample import parse

MOST = 40
ESM = Move(actor="guest 0", action="UV_ESM")
GO_ON = Move(actor="guest 0", action="go on")


def nobody(kind: str, content: object) -> None:
    """Publish to nobody."""


@pytest.fixture
async def machines() -> AsyncIterator[Machines]:
    found = Machines()
    yield found
    found.close()


@pytest.fixture
async def stage(machines: Machines) -> ModelStage:
    return await open_model(machines, MOST, OpenModel(stage="model", design="broken"))


def bytes_of(stage: Stage) -> str:
    """Return a frame as it is sent."""
    return json.dumps(stage.frame())


async def test_a_new_system_is_at_its_start(stage: ModelStage) -> None:
    frame = stage.frame()
    assert (stage.kind, stage.title, stage.observing_changes) == (
        StageKind.MODEL,
        "a new system, broken",
        False,
    )
    assert (frame["node"], frame["nodes"], frame["design"], frame["quiescent"]) == (0, 1, "broken", True)
    assert frame["system"] == {"image": ["brought", "unmigrated"], "plug": 1, "vcpus": 1}


async def test_the_system_is_what_was_wanted(machines: Machines) -> None:
    system = SystemWanted(image=("brought", "shared"), plug=2, vcpus=2, measured_plug=True, extras=("range",))
    frame = (await open_model(machines, MOST, OpenModel(stage="model", system=system))).frame()
    assert frame["system"] == {"image": ["brought", "shared"], "plug": 2, "vcpus": 2}
    assert len(frame["gfns"]) == 4
    assert {"guest 1", "vmm"} <= {each["actor"] for each in frame["moves"]}


async def test_a_design_that_is_none_is_wrong_input(machines: Machines) -> None:
    with pytest.raises(WrongInput, match="'unheard': no such design; there are eager, broken"):
        await open_model(machines, MOST, OpenModel(stage="model", design="unheard"))


async def test_a_node_has_the_same_bytes_whenever_one_comes_there(stage: ModelStage) -> None:
    seen = {0: bytes_of(stage)}
    for move in (ESM, GO_ON, GO_ON):
        await stage.move(move)
        seen[stage.frame()["node"]] = bytes_of(stage)
    last = {each["first"]: each for each in stage.frame()["gfns"]}
    assert last
    for node in (1, 3, 0, 2):
        await stage.goto(node)
        frame = stage.frame() | {"children": [], "nodes": 0}
        assert frame == json.loads(seen[node]) | {"children": [], "nodes": 0}
    again = bytes_of(stage)
    await stage.back()
    await stage.forward()
    assert bytes_of(stage) == again


@pytest.mark.parametrize(
    ("move", "reason"),
    [
        (GO_ON, "guest 0 has nothing open to go on with"),
        (Move(actor="guest 0", action="fly"), "there is no move"),
        (Move(actor="nobody", action="load", gfn=0), "there is no move"),
        (Move(actor="guest 0", action="load", gfn=99), "there is no move"),
        (Move(actor="guest 0", action="go on", fault="strange"), "there is no fault 'strange'"),
    ],
)
async def test_a_move_that_is_not_possible_changes_nothing(
    stage: ModelStage, move: Move, reason: str
) -> None:
    before = bytes_of(stage)
    with pytest.raises(NotPossible, match=f"(?i){reason}"):
        await stage.move(move)
    assert bytes_of(stage) == before


async def test_commands_without_a_place_to_go_say_so(stage: ModelStage) -> None:
    for command, reason in [(stage.back, "This is the start"), (stage.forward, "No move was made from here")]:
        with pytest.raises(NotPossible, match=reason):
            await command()
    with pytest.raises(NotPossible, match="There is no node 5"):
        await stage.goto(5)
    with pytest.raises(NotPossible, match="No move was made from here"):
        await stage.run("end")


async def test_a_session_is_full_after_so_many_moves(machines: Machines) -> None:
    stage = await open_model(machines, 3, OpenModel(stage="model"))
    for move in (ESM, GO_ON, GO_ON):
        await stage.move(move)
    with pytest.raises(NotPossible, match="The session is full: it has 3 moves"):
        await stage.move(GO_ON)
    assert (stage.frame()["node"], stage.frame()["nodes"]) == (3, 4)


async def test_a_run_that_ends_early_shows_how_far_it_came(machines: Machines) -> None:
    stage = await open_model(machines, 3, OpenModel(stage="model"))
    session = ConsoleSession("s", stage, Followers(1), 0.0)
    await session.command(0, lambda stage: stage.move(ESM))
    with pytest.raises(NotPossible, match="The session is full: it has 3 moves"):
        await session.command(1, lambda stage: stage.run("quiescent"))
    assert (stage.frame()["node"], session.frame.node, session.followers.seq) == (3, 3, 3)


async def test_both_views_of_a_page_are_shown(stage: ModelStage) -> None:
    await stage.move(Move(actor="guest 0", action="store", gfn=1))
    seen = await stage.observe(1)
    assert (seen["gfn"], seen["guest"]["by"], seen["host"]["by"], seen["changed"]) == (1, "guest", "host", [])
    run = stage.frame()["gfns"][1]
    assert (seen["guest"]["words"], seen["host"]["words"]) == (run["guest_page"], run["host_page"])
    assert len(bytes.fromhex(seen["host"]["bytes_hex"])) == 16
    with pytest.raises(NotPossible, match="this system has no GFN 77"):
        await stage.observe(77)


async def test_a_copy_has_the_same_path_on_another_design(stage: ModelStage) -> None:
    for move in (ESM, GO_ON, GO_ON):
        await stage.move(move)
    assert isinstance(stage, CanCopy)
    copy = await stage.copied(2, "tracked", nobody)
    assert copy.title == "a new system, broken, on tracked"
    frame = copy.frame()
    assert (frame["design"], frame["node"], frame["nodes"], frame["stopped"]) == ("tracked", 2, 3, "")
    whole = await stage.copied(None, None, nobody)
    assert (whole.frame()["design"], whole.frame()["node"]) == ("broken", 3)
    await copy.back()
    assert stage.frame()["node"] == 3
    with pytest.raises(WrongInput, match="'unheard': no such design; there are eager, broken"):
        await stage.copied(None, "unheard", nobody)
    with pytest.raises(NotPossible, match="There is no node 9"):
        await stage.copied(9, None, nobody)


async def test_a_path_is_exported_as_a_file_that_pef_reads(stage: ModelStage) -> None:
    with pytest.raises(NotPossible, match="No move was made"):
        await stage.export("counterexample")
    await stage.move(ESM)
    await stage.run("quiescent")
    found = await stage.export("counterexample")
    assert (found.name, found.media_type) == ("counterexample.json", "application/json")
    read = parse(found.text, found.name)
    assert (read.design, read.steps[0].action, read.found_by.command) == (
        "broken",
        "UV_ESM",
        "a session of pef console",
    )
    drawn = await stage.export("mermaid")
    assert drawn.text.startswith("sequenceDiagram\n")
    saved: Any = json.loads((await stage.export("json")).text)
    assert (saved["format"], len(saved["nodes"])) == ("pef-session/1", stage.frame()["nodes"] - 1)
    with pytest.raises(NotPossible, match="only a live session can be exported as curl"):
        await stage.export("curl")
