"""`pef rows`: what is wrong is one line and status 2 before any row; what a subject does is a verdict."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

import pytest

from pef_lab.cli import app
from pef_lab.endpoints import Endpoints
from pef_lab.ports import free_ports
from pef_lab.rows.admission import DIGEST, NO_BYTES, NO_HYPERCALL, NO_ULTRACALL
from pef_lab.rows.catalogue import all_rows, rows_of
from pef_lab.rows.subject import Subject
from pef_protocol.auth import mint_guest_token
from pef_protocol.http import EPOCH_PATH, GUESTS_PATH

Answer = tuple[int, str, bytes]
Behaviour = Callable[["Asked"], Answer]
NOTHING: Final = (200, "application/json", b"{}")
HTML: Final = (200, "text/html", b"<html>")
TOKENS: Final = Endpoints("", "", *(f"secret-{number}" for number in range(6)))
READY: Final = ("/readyz", "/livez")


@dataclass(frozen=True)
class Asked:
    """A request: its path, and the token it bears."""

    path: str
    token: str = field(repr=False)


@dataclass
class Fake:
    """A subject of HTTP that answers as `behaves` says, and keeps what it was asked."""

    behaves: Behaviour
    asked: list[Asked] = field(default_factory=list)
    url: str = ""


@contextmanager
def serving(fake: Fake) -> Iterator[Fake]:
    """Serve a fake subject from a thread, for the command has an event loop of its own."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            asked = Asked(self.path, self.headers.get("authorization", "").removeprefix("Bearer "))
            fake.asked.append(asked)
            status, kind, body = fake.behaves(asked)
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_DELETE = do_GET  # noqa: N815 - the names that http.server looks for

        def log_message(self, *_: Any) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    fake.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set all tokens and no URL."""
    for name in ("PEF_ULTRAVISOR_URL", "PEF_HYPERVISOR_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, token in TOKENS.environment.items():
        monkeypatch.setenv(name, token)


def alone(fake: Fake, *words: str) -> list[str]:
    """Return the command that tests a fake Ultravisor alone."""
    return ["rows", "--ultravisor-url", fake.url, "--peer-port", str(free_ports(1)[0]), *words]


NOWHERE = "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--id", "uv/none/*"], "--id: 'uv/none/*' names no row"),
        (["--id", "uv/page-in/ra*", "--id", "x"], "--id: 'x' names no row"),
        (["--patience", "0"], "--patience: a number of seconds"),
        (["--patience", "nan"], "--patience: a number of seconds"),
        (["--waive", "/no/such/file"], "No such file"),
        (["--json", "/no/such/directory/file"], "/no/such/directory/file: No such file"),
        (["--junit", "/no/such/directory/file"], "/no/such/directory/file: No such file"),
        (["--ultravisor-url", NOWHERE], "one side alone also --peer-port"),
        (["--peer-port", "9000"], "--peer-port takes either --ultravisor-url or --hypervisor-url"),
        (["--ultravisor-url", NOWHERE, "--hypervisor-url", NOWHERE, "--peer-port", "9000"], "takes either"),
        (["--ultravisor-url", NOWHERE, "--peer-port", "70000"], "70000 is not from 1 to 65535"),
        (["--ultravisor-url", "localhost:8001", "--hypervisor-url", NOWHERE], "'localhost:8001' is no URL"),
        (["--ultravisor-url", "http://h:port", "--hypervisor-url", NOWHERE], "'http://h:port' is no URL"),
        (["--ultravisor-url", "http://", "--hypervisor-url", NOWHERE], "'http://' is no URL"),
        (
            ["--ultravisor-url", NOWHERE, "--hypervisor-url", NOWHERE],
            f"{NOWHERE}: no Ultravisor is ready there",
        ),
    ],
)
def test_wrong_input_is_one_clear_line(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run(["rows", *words]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("pef: ")
    assert says in err


def test_a_missing_token_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PEF_HYPERVISOR_TOKEN")
    monkeypatch.delenv("PEF_OBSERVER_TOKEN")
    assert app.run(["rows", "--ultravisor-url", NOWHERE, "--hypervisor-url", NOWHERE]) == 2
    assert capsys.readouterr().err.endswith("set PEF_HYPERVISOR_TOKEN\n")


@pytest.mark.sockets
@pytest.mark.parametrize(
    "ready", [HTML, (404, "text/plain", b""), (503, "application/json", b"{}")], ids=["HTML", "404", "503"]
)
def test_a_url_of_something_else_is_one_line_and_no_row(
    ready: Answer, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(Fake(lambda _: ready)) as fake:
        assert app.run(alone(fake)) == 2
    assert [each.path for each in fake.asked] == [EPOCH_PATH, "/readyz"]
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"pef: {fake.url}: no Ultravisor is ready there: /readyz answers HTTP status")


@pytest.mark.sockets
@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    ("path", "token", "variable", "side"),
    [
        (NO_ULTRACALL, TOKENS.hypervisor_token, "PEF_HYPERVISOR_TOKEN", "ultravisor"),
        (
            NO_ULTRACALL,
            mint_guest_token(TOKENS.ultravisor_guest_key, 1),
            "PEF_ULTRAVISOR_GUEST_KEY",
            "ultravisor",
        ),
        (DIGEST, TOKENS.observer_token, "PEF_OBSERVER_TOKEN", "ultravisor"),
        (NO_HYPERCALL, TOKENS.ultravisor_token, "PEF_ULTRAVISOR_TOKEN", "hypervisor"),
        (
            NO_HYPERCALL,
            mint_guest_token(TOKENS.hypervisor_guest_key, 1),
            "PEF_HYPERVISOR_GUEST_KEY",
            "hypervisor",
        ),
        (NO_BYTES, TOKENS.vmm_token, "PEF_VMM_TOKEN", "hypervisor"),
    ],
    ids=lambda value: value if value.startswith("PEF_") else "",
)
def test_a_refused_token_is_one_line_and_no_row(
    path: str, token: str, variable: str, side: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse_it(asked: Asked) -> Answer:
        return (status, "application/problem+json", b"{}") if asked == Asked(path, token) else NOTHING

    with serving(Fake(refuse_it)) as fake:
        words = ["rows", f"--{side}-url", fake.url, "--peer-port", str(free_ports(1)[0])]
        assert app.run(words) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert f"refuses the token from {variable}: HTTP status {status}" in err
    assert token not in err
    incarnation = f"{GUESTS_PATH}1/incarnation"
    harmless = {EPOCH_PATH, incarnation, "/readyz", NO_ULTRACALL, NO_HYPERCALL, DIGEST, NO_BYTES}
    assert {each.path for each in fake.asked} <= harmless


@pytest.mark.sockets
def test_a_port_in_use_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(Fake(lambda _: NOTHING)) as fake:
        port = fake.url.rpartition(":")[2]
        assert app.run(["rows", "--ultravisor-url", fake.url, "--peer-port", port]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"pef: 127.0.0.1 port {port}: ")
    assert err.endswith("already in use\n")


@pytest.mark.sockets
@pytest.mark.parametrize(
    "answer", [HTML, (500, "text/html", b""), NOTHING], ids=["HTML", "500", "an empty object"]
)
def test_a_subject_that_answers_nonsense_is_errors_and_status_1(
    answer: Answer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, junit = tmp_path / "rows.json", tmp_path / "junit.xml"

    def nonsense(asked: Asked) -> Answer:
        return NOTHING if asked.path in READY else answer

    with serving(Fake(nonsense)) as fake:
        status = app.run(alone(fake, "--id", "uv/write-pate/*", "--json", str(file), "--junit", str(junit)))
    assert status == 1
    content = json.loads(file.read_text())
    (only,) = content["passes"]
    expected = sum(each.id.startswith("uv/write-pate/") for each in rows_of(Subject.ULTRAVISOR))
    assert (content["holds"], only["subject"], len(only["rows"])) == (False, "ultravisor", expected)
    assert {each["verdict"] for each in only["rows"]} <= {"harness error", "skipped"}
    assert all(each["cause"] and each["observed"] is None for each in only["rows"])
    root = ElementTree.parse(junit).getroot()  # noqa: S314 - our own file
    assert int(root.attrib["errors"]) == only["counts"]["harness error"] > 0
    out = capsys.readouterr().out
    written = file.read_text() + junit.read_text() + out
    assert "harness error" in out
    assert "not every MUST row passes" in out
    assert not any(secret in written for secret in (fake.url, *TOKENS.environment.values()))


def test_the_list_has_every_row_and_starts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["rows", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("\t")[0] for line in lines] == [row.id for row in all_rows()]
    assert app.run(["rows", "--list", "--id", all_rows()[0].id]) == 0
    assert capsys.readouterr().out.count("\n") == 1


def test_rows_that_can_not_be_played_on_this_subject_are_wrong_input(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["rows", "--ultravisor-url", NOWHERE, "--peer-port", "9000", "--id", "hv/*"]
    assert app.run(words) == 2
    assert "none of these rows can be played on this subject" in capsys.readouterr().err
