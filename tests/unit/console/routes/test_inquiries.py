"""A page, the map, a file, and a lesson's verdict and hint over HTTP."""

from typing import Any

import pytest

from harness.console import Consoles, CountingStage, opened
from pef_console.stage import Checked, Hint, MapOctets, NotPossible


class WholeStage(CountingStage):
    """A stage that can do everything."""

    async def held(self, held: str, action: str) -> None:
        """Note it."""
        self.commands.append(f"{action} {held}")

    async def map(self, cells: int) -> MapOctets:
        """Return as many octets, named by the cursor."""
        return MapOctets(bytes([self.at]) * cells, f"at {self.at}")

    async def check(self, answers: Any) -> Checked:
        """Tell whether the answer is 42."""
        return Checked(passed=answers.get("number") == "42", sentence="It is 42.")

    async def hint(self, n: int) -> Hint:
        """Return the only hint."""
        if n > 1:
            raise NotPossible("this lesson has 1 hints")
        return Hint(n=n, of=1, hint="Multiply.")


class WholeConsoles(Consoles):
    """A console with such a stage."""

    async def open(self, _: Any, publish: Any) -> CountingStage:
        """Open it."""
        self.stages.append(WholeStage(publish))
        return self.stages[-1]


async def test_a_page_is_returned_and_shown_to_all_followers() -> None:
    consoles = Consoles()
    async with consoles.client() as client:
        answer = await client.post(f"{await opened(client)}/look", json={"gfn": 3})
        assert (answer.status_code, answer.json()) == (200, {"gfn": 3, "changed": []})
    stream = consoles.console.sessions.find("session-1").followers.stream(1)
    event = await anext(stream)
    assert (event.event, event.raw_data) == ("page", '{"gfn":3,"changed":[]}')


async def test_a_file_is_returned_with_its_name() -> None:
    async with Consoles().client() as client:
        answer = await client.get(f"{await opened(client)}/export?as=mermaid")
        assert (answer.status_code, answer.text) == (200, "0")
        assert answer.headers["content-disposition"] == 'attachment; filename="number.mermaid"'


@pytest.mark.parametrize("query", ["", "?as=pdf"])
async def test_another_kind_of_file_gets_one_line(query: str) -> None:
    async with Consoles().client() as client:
        answer = await client.get(f"{await opened(client)}/export{query}")
        assert (answer.status_code, answer.json()["detail"][:4]) == (422, "as: ")


@pytest.mark.parametrize(
    ("method", "path", "detail"),
    [
        ("GET", "map?cells=1", "a model session has no map"),
        ("POST", "check", "no lesson is open in this session"),
        ("POST", "hint", "no lesson is open in this session"),
    ],
)
async def test_a_stage_that_has_it_not_says_so(method: str, path: str, detail: str) -> None:
    async with Consoles().client() as client:
        answer = await client.request(method, f"{await opened(client)}/{path}")
        assert (answer.status_code, answer.json()["detail"]) == (409, detail)


async def test_a_map_is_sent_once_until_it_changes() -> None:
    async with WholeConsoles().client() as client:
        path = await opened(client)
        first = await client.get(f"{path}/map?cells=4")
        assert (first.content, first.headers["etag"]) == (bytes(4), '"at 0"')
        known = {"if-none-match": first.headers["etag"]}
        again = await client.get(f"{path}/map?cells=4", headers=known)
        assert (again.status_code, again.content) == (304, b"")
        await client.post(f"{path}/goto", json={"node": 1})
        changed = await client.get(f"{path}/map?cells=4", headers=known)
        assert (changed.status_code, changed.content) == (200, bytes([1]) * 4)
        assert (await client.get(f"{path}/map?cells=0")).status_code == 422


async def test_something_is_done_with_a_held_message() -> None:
    consoles = WholeConsoles()
    async with consoles.client() as client:
        answer = await client.post(f"{await opened(client)}/held/m7", json={"action": "lose"})
        assert (answer.status_code, consoles.stages[0].commands) == (200, ["lose m7"])


async def test_a_lesson_is_checked_for_all_and_gives_hints() -> None:
    consoles = WholeConsoles()
    async with consoles.client() as client:
        path = await opened(client)
        verdict = {"passed": False, "sentence": "It is 42.", "progress": []}
        assert (await client.post(f"{path}/check")).json() == verdict
        answers = {"answers": {"number": "42"}}
        assert (await client.post(f"{path}/check", json=answers)).json() == verdict | {"passed": True}
        assert (await client.post(f"{path}/hint")).json() == {"n": 1, "of": 1, "hint": "Multiply."}
        assert (await client.post(f"{path}/hint", json={"n": 2})).status_code == 409
    event = await anext(consoles.console.sessions.find("session-1").followers.stream(2))
    assert (event.event, event.raw_data) == ("lesson", '{"passed":true,"sentence":"It is 42.","progress":[]}')
