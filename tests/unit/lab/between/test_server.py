"""A server on the wire answers by its handler alone."""

from typing import NoReturn

import httpx
import pytest
from aiohttp import web

from pef_lab.between.server import Server
from pef_lab.failures import WrongInput

pytestmark = pytest.mark.sockets


async def never(*_: object) -> NoReturn:
    raise AssertionError


async def test_a_server_answers_by_its_handler_alone_at_every_path() -> None:
    async def handler(request: web.Request, body: bytes) -> web.StreamResponse:
        return web.json_response({"path": request.path, "bytes": len(body)})

    async with Server(handler) as server, httpx.AsyncClient(trust_env=False) as client:
        for path in ("/", "/v1/anything"):
            response = await client.put(server.url + path, content=b"four")
            assert response.json() == {"path": path, "bytes": 4}


async def test_a_port_that_is_taken_is_wrong_input() -> None:
    async with Server(never) as server:
        with pytest.raises(WrongInput, match=f"127.0.0.1 port {server.port}: "):
            async with Server(never, port=server.port):
                pass


async def test_a_server_for_everybody_is_called_here_by_the_loopback() -> None:
    async with Server(never, host="0.0.0.0") as server:  # noqa: S104
        assert server.url == f"http://127.0.0.1:{server.port}"
