"""Which kind of file a content is; one line for what is none of ours."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from harness.reported_rows import PAIR
from pef_console.machines import Machines
from pef_console.model import open_model
from pef_console.recorded import reading
from pef_console.recorded.reading import NONE_OF_OURS, Reader, kind_of, parsed_of
from pef_console.routes.opening import OpenModel
from pef_console.stage import Move, NotPossible, StageKind
from pef_lab.failures import WrongInput
from pef_lab.rows.report import write_json
from pef_protocol.events import TRACE_VERSION

MOST = 20
COUNTEREXAMPLE = Path(__file__).parents[4] / "docs" / "counterexamples" / "broken-the-tables-agree.json"
TRACE = json.dumps({"pef_trace": TRACE_VERSION, "title": "t"}) + "\n"
HOSTILE: dict[str, Any] = {"attacks": [], "not_tried": []}


@pytest.fixture
async def machines() -> AsyncIterator[Machines]:
    found = Machines()
    yield found
    found.close()


@pytest.fixture
def reader(machines: Machines) -> Reader:
    return Reader(machines, MOST)


def rows_in(folder: Path) -> str:
    """Return the text of a file of `pef rows --json`."""
    write_json(folder / "rows.json", (PAIR,), (), ())
    return (folder / "rows.json").read_text(encoding="utf-8")


async def test_every_kind_of_file_is_opened_as_text_and_as_json(reader: Reader, tmp_path: Path) -> None:
    counterexample = COUNTEREXAMPLE.read_text(encoding="utf-8")
    kinds = {}
    for text in (counterexample, rows_in(tmp_path), json.dumps(HOSTILE), TRACE):
        kinds[kind_of(parsed_of(text))] = (await reader.open(text, "f")).kind
        if text is not TRACE:
            await reader.open(json.loads(text), "f")
    assert kinds == dict.fromkeys(("counterexample", "rows", "hostile", "trace"), StageKind.RECORDED)


async def test_a_saved_session_goes_on_in_the_model(reader: Reader, machines: Machines) -> None:
    stage = await open_model(machines, 1000, OpenModel(stage="model", design="broken"))
    for action in ("UV_ESM", "go on", "go on"):
        await stage.move(Move(actor="guest 0", action=action))
    await stage.back()
    saved = await stage.export("json")
    opened = await reader.open(saved.text, "session.json")
    assert opened.kind is StageKind.MODEL
    assert opened.frame() == stage.frame()
    content = json.loads(saved.text)
    content["nodes"] *= MOST
    with pytest.raises(WrongInput, match=r"session\.json: it has 60 moves, and a session has at most 20"):
        await reader.open(content, "session.json")


async def test_recordings_together_have_a_limit(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_HELD", 2 * len(TRACE))
    first = await reader.open(TRACE, "f")
    await reader.open(TRACE, "f")
    with pytest.raises(NotPossible, match=f"the open recordings have {2 * len(TRACE)} octets: end one"):
        await reader.open(TRACE, "f")
    await first.close()
    await reader.open(TRACE, "f")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", NONE_OF_OURS),
        ("{", NONE_OF_OURS),
        ("[" * 100_000, NONE_OF_OURS),
        ("[]", NONE_OF_OURS),
        ({}, NONE_OF_OURS),
        ({"format": "other"}, NONE_OF_OURS),
        ({"format": ["pef-counterexample/2"]}, NONE_OF_OURS),
        ({"format": "pef-counterexample/9"}, "of another version: 'pef-counterexample/9'"),
        ({"format": "pef-counterexample/2"}, "title: Field required"),
        ({"format": "pef-session/9"}, "a session of another version: 'pef-session/9'"),
        ({"format": "pef-session/1", "nodes": 7}, "design: Field required"),
        ({"schema": "pef-rows", "version": 9}, "of version 9, where 1 is read here"),
        ({"schema": "pef-rows", "version": 1}, "passes: Field required"),
        ({"attacks": [{}], "not_tried": []}, "attacks.0.attack: Field required"),
        (json.dumps({"pef_trace": 1}), "a trace of version 1, which can't be read"),
    ],
)
async def test_what_is_none_of_ours_is_one_line(reader: Reader, content: Any, reason: str) -> None:
    with pytest.raises(WrongInput) as refusal:
        await reader.open(content, "the file")
    said = str(refusal.value)
    assert reason in said
    assert said.startswith("the file")
    assert (len(said) < 400, "\n" in said) == (True, False)
