"""`pef console` over real sockets: its URL, its streams, its end, and what it never sends."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import httpx
import pytest

from harness.console import HOST, Consoles
from harness.console_process import ConsoleProcess, console_process
from pef_console.app import build_app
from pef_console.security import UPLOAD
from pef_console.serving import configured, hosts_of, listening
from pef_lab.failures import OperatorFault, WrongInput
from pef_protocol.http import Role

STREAMS = 5
STOPPED = 2.0
"""Seconds after Ctrl-C, as the issue says."""
FILE = "broken-the-tables-agree"
TREE = Path(__file__).parents[3] / "docs" / "counterexamples"


def test_a_console_answers_at_its_own_address_and_where_it_is_published() -> None:
    with listening("127.0.0.1", 0) as place:
        assert place.proto == socket.IPPROTO_TCP  # asyncio sends at once only over such a socket
        port = place.getsockname()[1]
        own = [f"127.0.0.1:{port}", f"localhost:{port}"]
        assert hosts_of(place, None) == own
        assert hosts_of(place, "Lab.Example:80") == ["lab.example:80", "localhost:80", *own]
        for wrong in ("lab", "lab:", ":80", "lab:http"):
            with pytest.raises(WrongInput, match="--published: HOST:PORT is needed, not"):
                hosts_of(place, wrong)


def test_a_port_that_is_taken_is_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(
                OperatorFault, match=f"can't listen at 127.0.0.1 port {port}: address already in use"
            ),
            listening("127.0.0.1", port),
        ):
            pass


def test_no_variable_of_the_environment_changes_how_it_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    app = build_app(Consoles().console, frozenset({HOST}))
    plain = vars(configured(app)) | {"http": None}
    for name, value in [("FORWARDED_ALLOW_IPS", "*"), ("WEB_CONCURRENCY", "7"), ("UVICORN_ROOT_PATH", "/x")]:
        monkeypatch.setenv(name, value)
    assert vars(configured(app)) | {"http": None} == plain
    assert (plain["proxy_headers"], plain["workers"], plain["access_log"]) == (False, 1, False)


async def opened(client: httpx.AsyncClient) -> str:
    """Open a counterexample, and return the path of its session."""
    answer = await client.post("/api/v1/sessions", json={"file": FILE})
    assert answer.status_code == 201, answer.text
    return f"/api/v1/sessions/{answer.json()['id']}"


class Stream:
    """A stream of events, read event by event."""

    def __init__(self, response: httpx.Response) -> None:
        self._blocks = response.aiter_lines()

    async def next(self) -> tuple[str, str, str]:
        """Return the kind, the number and the content of the next event."""
        found = {"event": "", "id": "", "data": ""}
        async for line in self._blocks:
            name, colon, value = line.partition(": ")
            if colon and name in found:
                found[name] = value
            elif not line and found["event"]:
                break
        return found["event"], found["id"], found["data"]


TOKENS = {f"PEF_{role.name}_TOKEN": f"token-of-{role.name}" for role in Role} | {
    f"PEF_{side}_GUEST_KEY": f"key-of-{side}" for side in ("ULTRAVISOR", "HYPERVISOR")
}


@pytest.fixture(scope="module")
async def console(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ConsoleProcess]:
    """Give a console with files of its own, an open file, followers, and all tokens in its environment."""
    folder = tmp_path_factory.mktemp("own")
    (folder / f"{FILE}.json").write_text((TREE / f"{FILE}.json").read_text())
    (folder / "other.json").write_text('{"format": "other"}')
    words = ("--read-only", "--open", str(folder / f"{FILE}.json"), "--files", str(folder))
    async with console_process(*words, **TOKENS) as process:
        yield process


@pytest.mark.sockets
@pytest.mark.slow
async def test_a_follower_that_drops_comes_back_at_the_newest_frame(console: ConsoleProcess) -> None:
    async with console.client() as client:
        path = await opened(client)
        async with client.stream("GET", f"{path}/events") as response:
            stream = Stream(response)
            assert (await stream.next())[:2] == ("frame", "1")
            frame = (await client.post(f"{path}/forward", json={"if_at": 0})).text
            assert await stream.next() == ("frame", "2", frame)
        for _ in range(3):
            frame = (await client.post(f"{path}/forward", json={})).text
        async with client.stream("GET", f"{path}/events", headers={"last-event-id": "2"}) as response:
            assert await Stream(response).next() == ("frame", "5", frame)


@pytest.mark.sockets
@pytest.mark.slow
async def test_ctrl_c_with_five_open_streams_says_bye_and_ends() -> None:
    async with console_process() as console, console.client() as client:
        path = await opened(client)
        farewells: list[tuple[str, str, str]] = []
        ready = anyio.Semaphore(0)

        async def follow() -> None:
            async with client.stream("GET", f"{path}/events") as response:
                stream = Stream(response)
                await stream.next()
                ready.release()
                farewells.append(await stream.next())

        async with anyio.create_task_group() as group:
            for _ in range(STREAMS):
                group.start_soon(follow)
            for _ in range(STREAMS):
                await ready.acquire()
            console.process.send_signal(signal.SIGINT)
            with anyio.fail_after(STOPPED):
                assert await console.process.wait() == 0
    assert farewells == [("bye", "2", '{"detail": "the console has ended"}')] * STREAMS


@pytest.mark.sockets
@pytest.mark.slow
async def test_an_upload_of_100_mb_is_refused_before_it_is_read(console: ConsoleProcess) -> None:
    async with console.client() as client:
        before = (await client.get("/api/v1/sessions")).json()
        host, port = console.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        writer.write(
            f"POST /api/v1/sessions HTTP/1.1\r\nhost: {host}:{port}\r\ncookie: {cookie}\r\n"
            f"content-type: application/json\r\ncontent-length: {100 << 20}\r\n\r\n".encode()
        )
        answer = (await reader.read()).decode()
        writer.close()
        assert answer.startswith("HTTP/1.1 413 ")
        assert answer.endswith(f'{{"detail":"the request is too long: at most {UPLOAD:,} octets are read"}}')
        assert (await client.get("/api/v1/sessions")).json() == before


EXPORTS = ("", *(f"/export?as={kind}" for kind in ("json", "counterexample", "mermaid", "curl")))
LIBRARY = ("about", "files", "designs", "lessons", "calls/UV_ESM", "sessions")


async def everything(console: ConsoleProcess, client: httpx.AsyncClient) -> str:
    """Return all that the console says: what it printed, and its answers with their heads."""
    path = await opened(client)
    await client.post(f"{path}/run", json={"until": "end"})
    body = {"copy": path.rpartition("/")[2], "design": "tracked"}
    copied = await client.post("/api/v1/sessions", json=body)
    sessions = (path, f"/api/v1/sessions/{copied.json()['id']}")
    paths = [f"{each}{what}" for each in sessions for what in EXPORTS]
    paths += ["/", "/static/index.html", "/nowhere", *(f"/api/v1/{what}" for what in LIBRARY)]
    answers = [copied, *[await client.get(each) for each in paths]]
    answers += [await client.post(f"{each}/look", json={"gfn": 0}) for each in sessions]
    return "".join([*console.printed, *(f"{answer.headers}{answer.text}" for answer in answers)])


@pytest.mark.sockets
@pytest.mark.slow
async def test_no_token_of_the_protocol_is_in_anything_that_it_says(console: ConsoleProcess) -> None:
    async with console.client() as client:
        said = await everything(console, client)
        async with console.client(1) as follower:
            said += (await follower.get("/api/v1/about")).text
    assert "the_tables_agree" in said
    assert [token for token in TOKENS.values() if token in said] == []


@pytest.mark.sockets
@pytest.mark.slow
async def test_a_file_is_opened_at_the_start_and_shown_by_the_printed_urls(console: ConsoleProcess) -> None:
    moving, watching = console.fragments
    session_id = moving.partition("&s=")[2]
    assert watching.partition("&s=")[2] == session_id
    async with console.client(1) as follower:
        assert (await follower.get("/api/v1/about")).json()["read_only"]
        frame = (await follower.get(f"/api/v1/sessions/{session_id}")).json()
        assert (frame["stage"], frame["nodes"], frame["design"]) == ("recorded", 13, "broken")
        files = (await follower.get("/api/v1/files")).json()
    assert [each["name"] for each in files] == [FILE]
