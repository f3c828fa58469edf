"""Every command in its shortest form, and what a fault of it looks like.

The commands run in this process, so that hundreds of them take seconds. What needs a process of its own, such
as limits of memory, is in `test_faults_of_the_operator.py`.
"""

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import pytest

from pef_lab.endpoints import Endpoints, variable_of

ROOT: Final = Path(__file__).parents[3]
PAGE: Final = ROOT / "docs/exit-codes.md"
EXAMPLE: Final = str(ROOT / "docs/counterexamples/broken-the-tables-agree.json")
SOLVED: Final = str(ROOT / "docs/counterexamples/broken-the-guest-finds-what-it-wrote.json")
KEY: Final = "09" + "00" * 31
NOBODY: Final = "http://127.0.0.1:9"
DONE, FINDING, WRONG, READER_LEFT = 0, 1, 2, 141

DESIGNS: Final = ("designs", "--size", "64MiB", "--touched", "1MiB", "--design", "tracked")
EXPLORE: Final = ("explore", "--slots", "1", "--calls", "1", "--processes", "1", "--design")
SIMULATE: Final = ("simulate", "--processes", "1", "--seeds", "1", "--steps")
BUILD: Final = ("image", "build", "image", "--size", "64MiB")
BETWEEN: Final = ("--between-ultravisor", "18801", "--between-hypervisor", "18802")

COMMANDS: Final[dict[str, tuple[str, ...]]] = {
    "up": ("up", "--secure-memory", "256MiB"),
    "down": ("down",),
    "demo": ("demo",),
    "designs": DESIGNS,
    "trace": ("trace", EXAMPLE),
    "replay": ("replay", EXAMPLE),
    "rows": ("rows", "--id", "uv/esm/success"),
    "hostile": ("hostile", "--id", "1"),
    "explore": (*EXPLORE, "tracked"),
    "simulate": (*SIMULATE, "5"),
    "step": ("step", EXAMPLE),
    "console": ("console",),
    "lesson list": ("lesson", "list"),
    "lesson start": ("lesson", "start", "12"),
    "lesson check": ("lesson", "check", SOLVED, "--lesson", "7"),
    "lesson grade": ("lesson", "grade", str(ROOT / "docs/counterexamples")),
    "token guest": ("token", "guest", "1"),
    "image build": (*BUILD, "--machine-key", KEY),
}
"""Every command, in its shortest form that does something."""

ON_A_PAIR: Final[dict[str, tuple[str, ...]]] = {
    "demo": ("demo",),
    "designs": DESIGNS,
    "replay": ("replay", EXAMPLE, *BETWEEN),
    "rows": ("rows", "--id", "pair/*"),
    "hostile": ("hostile", "--id", "1", *BETWEEN),
    "token guest": ("token", "guest", "1"),
    "image build": BUILD,
}
"""Every command that can be run on a pair that runs already."""

STARTS_A_PAIR: Final = ("up", "demo", "designs", "replay", "rows", "hostile")
QUICK: Final = (
    *("trace", "explore", "simulate", "image build"),
    *("lesson list", "lesson start", "lesson check", "lesson grade"),
)
"""Commands that are done in a moment and start no service."""


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line of a fault: a command may have told how far it was before."""
    err = capsys.readouterr().err
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if line.startswith("pef: ")]
    assert len(lines) == 1, err
    assert err.endswith(lines[0] + "\n")
    return lines[0].removeprefix("pef: ")


def name_the_pair(monkeypatch: pytest.MonkeyPatch, url: str, **other: str) -> None:
    """Set all that it takes to speak to a pair whose both sides are at `url`."""
    for number, part in enumerate(fields(Endpoints)):
        value = url if part.name.endswith("url") else f"token-of-nobody-{number}"
        monkeypatch.setenv(variable_of(part.name), other.get(part.name, value))


def raising(fault: BaseException) -> Callable[..., Any]:
    """Return what stands for work that comes to `fault`."""

    async def work(*_: Any, **__: Any) -> Any:
        raise fault

    return work


@contextmanager
def answering(status: int, kind: str, content: bytes) -> Iterator[str]:
    """Serve one answer to everything, and give the URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            """Answer a request that has been read whole."""
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = answer  # noqa: N815 - so the library calls them

        def log_request(self, *_: Any) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
