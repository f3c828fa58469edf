"""The page, and what the application does at its end."""

import pytest

from harness.console import Consoles, opened
from pef_console.app import PAGE


async def test_the_page_is_served_with_its_files() -> None:
    async with Consoles().client(None) as client:
        page = await client.get("/")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.text == (PAGE / "index.html").read_text(encoding="utf-8")
        for file in PAGE.iterdir():
            answer = await client.get(f"/static/{file.name}")
            assert answer.content == file.read_bytes()
            known = {"if-none-match": answer.headers["etag"]}
            assert (await client.get(f"/static/{file.name}", headers=known)).status_code == 304


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/app.py", "/docs"]
)
async def test_nothing_else_is_served(path: str) -> None:
    async with Consoles().client() as client:
        assert (await client.get(path)).status_code == 404


async def test_at_its_end_all_sessions_end() -> None:
    consoles = Consoles()
    async with consoles.app.router.lifespan_context(consoles.app), consoles.client() as client:
        await opened(client)
        assert not consoles.stages[0].closed
    assert consoles.stages[0].closed
