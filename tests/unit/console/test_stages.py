"""What this console can show, over HTTP; and what it says where the services are not installed."""

import json
import re
from collections.abc import AsyncIterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness.console import HOST, SECRETS, URL
from pef_console import stages
from pef_console.app import build_app
from pef_console.live.opening import LiveSettings
from pef_console.routes.needs import Console
from pef_console.security import Entrance, Right
from pef_console.sessions import DEFAULT, Sessions
from pef_console.stages import NO_LIVE, NO_SERVICES, Stages
from pef_lab.endpoints import Endpoints
from pef_lab.failures import WrongInput

FILE = "broken-the-tables-agree"
TREE = Path(__file__).parents[3] / "docs" / "counterexamples"


def console_of(found: Stages) -> Console:
    """Return a console with these stages."""
    numbers = iter(range(100))
    sessions = Sessions(DEFAULT, lambda: str(next(numbers)), lambda: 0.0)
    return Console(Entrance(SECRETS, 8100), sessions, found.openers(), found.catalogue())


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of a console that shows what a console shows."""
    found = Stages(DEFAULT.moves, None)
    transport = httpx.ASGITransport(build_app(console_of(found), frozenset({HOST})))
    async with httpx.AsyncClient(transport=transport, base_url=URL) as entered:
        await entered.post("/api/v1/enter", json={"secret": SECRETS[Right.MOVE]})
        yield entered
    found.close()


async def opened(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    """Open a session, and return its first frame."""
    answer = await client.post("/api/v1/sessions", json=body)
    assert answer.status_code == 201, answer.text
    frame: dict[str, Any] = answer.json()
    return frame


async def test_a_system_is_broken_over_http(client: httpx.AsyncClient) -> None:
    frame = await opened(client, stage="model", design="broken")
    path = f"/api/v1/sessions/{frame['id']}"
    for step in json.loads((TREE / f"{FILE}.json").read_text())["steps"]:
        assert not frame["violated"]
        move = {name: step[name] for name in ("actor", "action", "gfn", "fault")}
        while True:
            answer = await client.post(f"{path}/move", json=move | {"if_at": frame["node"]})
            assert answer.status_code == 200, answer.text
            frame = answer.json()
            if frame["path"][-1]["outcome"] != "suspended":
                break
            move = {"actor": "guest 0", "action": "go on"}
    assert [each["invariant"] for each in frame["verdicts"] if not each["holds"]] == ["the_tables_agree"]
    exported = await client.get(f"{path}/export?as=counterexample")
    assert exported.json()["invariant"] == "the_tables_agree"


async def test_a_listed_file_is_opened_and_copied_on_another_design(client: httpx.AsyncClient) -> None:
    files = (await client.get("/api/v1/files")).json()
    assert FILE in [each["name"] for each in files]
    frame = await opened(client, file=FILE)
    assert (frame["stage"], frame["node"], frame["nodes"]) == ("recorded", 0, 13)
    copied = await opened(client, copy=frame["id"], at=12, design="tracked")
    assert (copied["stage"], copied["design"], copied["violated"]) == ("model", "tracked", False)


async def test_a_file_of_the_person_is_opened(client: httpx.AsyncClient) -> None:
    text = (TREE / f"{FILE}.json").read_text()
    for upload in (text, json.loads(text)):
        assert (await opened(client, upload=upload))["nodes"] == 13


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"file": "other"}, "there is no file 'other' in the list"),
        ({"upload": {}}, "an uploaded file: none of the files that the lab writes"),
        ({"upload": {"format": "pef-counterexample/9"}, "name": "n"}, "n: of another version"),
        ({"stage": "model", "design": "other"}, "'other': no such design; there are"),
        ({"lesson": "99"}, "there is no lesson '99'"),
    ],
)
async def test_what_can_not_be_opened_is_one_line(
    client: httpx.AsyncClient, body: dict[str, Any], detail: str
) -> None:
    answer = await client.post("/api/v1/sessions", json=body)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(detail)
    assert (await client.get("/api/v1/sessions")).json() == []


async def test_each_stage_can_be_opened_where_the_services_are(client: httpx.AsyncClient) -> None:
    shown = (await client.get("/api/v1/about")).json()["stages"]
    assert shown == {"model": "", "recorded": "", "live": ""}


async def test_without_the_services_code_there_are_recordings_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(name: str) -> ModuleSpec | None:
        return None if name == "pef_hypervisor" else ModuleSpec(name, None)

    monkeypatch.setattr(stages, "find_spec", found)
    without = Stages(DEFAULT.moves, None)
    assert without.openers().why_not() == {"model": NO_SERVICES, "recorded": "", "live": NO_LIVE}
    assert list(without.catalogue().lessons()) == []
    with pytest.raises(WrongInput, match=re.escape(f"{FILE}.json: {NO_SERVICES}")):
        await without.open_path(TREE / f"{FILE}.json")
    without.close()
    pair = LiveSettings(Endpoints("http://h:1", "http://h:2", "", "", "", ""))
    given = Stages(DEFAULT.moves, None, pair)
    assert given.openers().why_not()["live"] == ""
    given.close()
