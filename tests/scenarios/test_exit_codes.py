"""How each command ends: the page of exit codes line by line, and each kind of fault against each command.

The commands run in this process, so that hundreds of them take seconds. What needs a process of its own, such
as limits of memory, is in `test_faults_of_the_operator.py`.
"""

import http.server
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, TextIO

import pytest
import typer

from pef_lab.cli import app
from pef_lab.endpoints import Endpoints, variable_of
from pef_lab.hostile.catalogue import ATTACKS
from pef_lab.hostile.report import Row
from pef_lab.hostile.trial import Trial
from pef_lab.replay.player import Difference
from pef_mutants.__main__ import app as mutants

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs/exit-codes.md"
EXAMPLE: Final = str(ROOT / "docs/counterexamples/broken-the-tables-agree.json")
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
QUICK: Final = ("trace", "explore", "simulate", "image build")
"""Commands that are done in a moment and start no service."""


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Have no pair in the environment, and write nothing but below a directory of the test."""
    for name in [name for name in os.environ if name.startswith("PEF_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)


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


# The page


def lines_of_the_page() -> dict[str, tuple[str, str]]:
    """Return what the page says of 0 and of 1, by command."""
    text = PAGE.read_text(encoding="utf-8").partition("## Command by command")[2]
    found = re.findall(r"^\| (`.*?) \| (.*?) \| (.*?) \|$", text, re.MULTILINE)
    return {command: (done, finding) for command, done, finding in found}


def paths_of(group: Any, before: str = "") -> Iterator[str]:
    """Yield the names of all commands of a group, those of its groups with both names."""
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if hasattr(command, "list_commands"):
            yield from paths_of(command, f"{before}{name} ")
        else:
            yield before + name


def test_the_page_has_every_command_once_and_no_other() -> None:
    everything = set(paths_of(typer.main.get_command(app)))
    assert everything == set(COMMANDS)
    named = [command.removeprefix("`pef ").removesuffix("`") for command in lines_of_the_page()]
    others = {name for name in named if not name.startswith("`")} ^ everything
    assert not others
    assert len(named) == len(everything) + 3


def raising(fault: BaseException) -> Callable[..., Any]:
    """Return what stands for work that comes to `fault`."""

    async def work(*_: Any, **__: Any) -> Any:
        raise fault

    return work


def returning(value: Any) -> Callable[..., Any]:
    """Return what stands for work that comes to `value`."""

    async def work(*_: Any, **__: Any) -> Any:
        return value

    return work


def finding_of_demo(patch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Have the tour find something."""
    patch.setattr("pef_lab.tour.tour", returning(["a page: text (expected: ciphertext)"]))
    return COMMANDS["demo"]


def finding_of_replay(patch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Have something come out otherwise than the file says."""
    patch.setattr("pef_lab.replay.command._play", raising(Difference("step 1", "U_SUCCESS", "U_BUSY")))
    return COMMANDS["replay"]


def finding_of_hostile(patch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Have an attack succeed."""
    trial = Trial(ground=None)  # type: ignore[arg-type]  # nothing is asked of it
    trial.saw("private text on the wire", "a message", "nowhere")
    patch.setattr("pef_lab.hostile.command.attacked", returning([Row(ATTACKS[0], trial, 0.0)]))
    return COMMANDS["hostile"]


FINDINGS: Final[dict[str, Callable[[pytest.MonkeyPatch], tuple[str, ...]]]] = {
    "demo": finding_of_demo,
    "replay": finding_of_replay,
    "hostile": finding_of_hostile,
    "explore": lambda _: (*EXPLORE, "broken"),
    "simulate": lambda _: (*SIMULATE, "100", "--design", "broken"),
}
"""For each command that can end with 1: how it comes to a finding."""


@pytest.mark.parametrize("name", FINDINGS)
def test_a_finding_is_status_1_and_is_shown(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run(FINDINGS[name](monkeypatch)) == FINDING
    out, err = capsys.readouterr()
    assert "✘" in out + err
    assert "pef: " not in err


def test_nonsense_of_a_subject_is_a_finding_of_rows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(200, "application/json", b"{}") as url:
        name_the_pair(monkeypatch, url)
        assert app.run(ON_A_PAIR["rows"]) == FINDING
    assert "harness error" in capsys.readouterr().out


def test_the_page_says_of_each_command_whether_it_can_end_with_a_finding() -> None:
    can = {name for name, (_, finding) in lines_of_the_page().items() if finding != "never"}
    assert can == {f"`pef {name}`" for name in (*FINDINGS, "rows")}


@pytest.mark.parametrize("name", QUICK)
def test_what_is_done_is_status_0(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(COMMANDS[name]) == DONE
    assert "pef: " not in capsys.readouterr().err


# Wrong input


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("wrong", ["--no-such-option", "--help=x"])
def test_a_wrong_word_is_one_line(name: str, wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run([*COMMANDS[name], wrong]) == WRONG
    assert wrong.partition("=")[0] in one_line(capsys)


@pytest.mark.parametrize("words", [["serve", "no-such-mutant"], ["no-such-command"], ["--no-such-option"]])
def test_a_wrong_word_to_the_mutants_is_one_line(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert mutants.run(words) == WRONG
    assert one_line(capsys)


READERS: Final[dict[str, tuple[str, ...]]] = {
    "trace": ("trace",),
    "replay": ("replay",),
    "simulate --file": ("simulate", "--file"),
    "rows --waive": ("rows", "--waive"),
}
"""Every command that reads a file of a format."""
FILES: Final[dict[str, bytes | None]] = {
    "missing": None,
    "empty": b"",
    "no text": bytes(range(256)),
    "half of one": Path(EXAMPLE).read_bytes()[:900],
    "a list": b"[]",
    "a number": b"1",
    "another format": b'{"format": "\\ud800"}',
    "too deep": b"[" * 100_000,
    "a deep value": b"x = " + b"[" * 100_000,
    "a number without end": b"1" * 10_000,
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("content", FILES)
def test_a_file_that_is_not_of_its_format_is_one_line(
    name: str, content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    if (octets := FILES[content]) is not None:
        file.write_bytes(octets)
    assert app.run([*READERS[name], str(file)]) == WRONG
    assert str(file) in one_line(capsys)


@pytest.mark.parametrize("name", [*READERS, "image build --attach"])
def test_a_directory_in_place_of_a_file_is_one_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = {**READERS, "image build --attach": (*COMMANDS["image build"], "--attach")}[name]
    named = f"name={tmp_path}" if "--attach" in words else str(tmp_path)
    assert app.run([*words, named]) == WRONG
    assert "Is a directory" in one_line(capsys)


# What can't be written


WRITERS: Final = (
    *(("designs", option) for option in ("--json", "--trace")),
    *(("rows", option) for option in ("--json", "--junit")),
    *((name, "--json") for name in ("hostile", "explore", "simulate")),
)
"""Every option that names a file that is written."""


@pytest.mark.parametrize(("name", "option"), WRITERS)
@pytest.mark.parametrize("place", ["no/such/directory/file", "."])
def test_a_file_that_can_not_be_written_is_one_line_before_anything_begins(
    name: str,
    option: str,
    place: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(subprocess, "Popen", raising(AssertionError("something is started")))
    assert app.run([*COMMANDS[name], option, place]) == WRONG
    assert one_line(capsys).startswith(f"{place}: ")


@pytest.mark.parametrize(
    "words",
    [
        (*COMMANDS["explore"], "--state"),
        (*COMMANDS["explore"], "--keep"),
        (*SIMULATE, "100", "--design", "broken", "--keep"),
        ("image", "build", "--machine-key", KEY, "--size", "64MiB"),
    ],
    ids=["explore --state", "explore --keep", "simulate --keep", "image build"],
)
def test_a_directory_that_can_not_be_made_is_one_line(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run([*words, "/dev/null/directory"]) == WRONG
    assert one_line(capsys) == "/dev/null/directory: Not a directory"


@pytest.mark.parametrize("name", ["up", "down"])
def test_a_place_for_tokens_that_can_not_be_made_is_one_line(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/dev/null")
    assert app.run(COMMANDS[name]) == WRONG
    assert one_line(capsys).startswith("/dev/null/pef-")


@pytest.mark.parametrize("name", ["explore", "simulate"])
def test_a_result_that_does_not_fit_is_shown_before_it_is_lost(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run([*COMMANDS[name], "--json", "/dev/full"]) == WRONG
    out, err = capsys.readouterr()
    assert "tracked" in out
    assert err.splitlines()[-1] == "pef: /dev/full: No space left on device"


# Standard output


@contextmanager
def standard_output(stream: TextIO | None) -> Iterator[None]:
    """Have standard output be `stream`, or closed."""
    before, sys.stdout = sys.stdout, stream
    try:
        yield
    finally:
        sys.stdout = before


@pytest.mark.parametrize("name", COMMANDS)
def test_without_standard_output_nothing_is_begun(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with standard_output(None):
        assert app.run(COMMANDS[name]) == WRONG
    assert one_line(capsys).startswith("standard output is closed")


@pytest.mark.parametrize(
    "words", [*((*COMMANDS[name], "--help") for name in COMMANDS), *map(COMMANDS.get, QUICK)]
)
def test_output_on_a_full_disk_is_one_line(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full, standard_output(full):
        assert app.run(words) == WRONG
    assert one_line(capsys) == "No space left on device"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize(
    "words", [*((*COMMANDS[name], "--help") for name in COMMANDS), *map(COMMANDS.get, QUICK)]
)
def test_output_in_another_encoding_is_whole(words: tuple[str, ...], encoding: str, tmp_path: Path) -> None:
    with (file := tmp_path / "output").open("w", encoding=encoding) as stream, standard_output(stream):
        assert app.run(words) == DONE
    assert len(file.read_text(encoding=encoding).splitlines()) > 0


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_whose_reader_has_left_ends_quietly(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    end, place = os.pipe()
    os.close(end)
    with os.fdopen(place, "w", encoding="utf-8") as stream, standard_output(stream):
        assert app.run(COMMANDS[name]) == READER_LEFT
    assert "pef: " not in capsys.readouterr().err


# A pair that runs


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


@pytest.mark.sockets
@pytest.mark.parametrize("name", ON_A_PAIR)
def test_a_url_at_which_nobody_listens_is_one_line(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name_the_pair(monkeypatch, NOBODY)
    assert app.run(ON_A_PAIR[name]) == WRONG
    line = one_line(capsys)
    assert "no answer" in line
    assert "Connection refused" in line


@pytest.mark.sockets
@pytest.mark.parametrize("name", ON_A_PAIR)
@pytest.mark.parametrize("body", [(200, "text/html", b"<html>"), (500, "text/plain", b"")])
def test_what_is_no_service_is_one_line(
    name: str,
    body: tuple[int, str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with answering(*body) as url:
        name_the_pair(monkeypatch, url)
        assert app.run(ON_A_PAIR[name]) == WRONG
    assert one_line(capsys)


@pytest.mark.sockets
@pytest.mark.parametrize("name", ON_A_PAIR)
def test_a_token_that_is_not_known_is_one_line(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    problem = b'{"title": "Unauthorized", "detail": "this token is not known", "status": 401}'
    with answering(401, "application/problem+json", problem) as url:
        name_the_pair(monkeypatch, url)
        assert app.run(ON_A_PAIR[name]) == WRONG
    assert "401" in one_line(capsys)


@pytest.mark.parametrize("name", ON_A_PAIR)
@pytest.mark.parametrize(
    ("part", "value"),
    [
        *(("ultravisor_url", url) for url in ("localhost:8001", "http://h:port", "ftp://h", "http://h\n")),
        *(("observer_token", token) for token in ("a\nb", "a b", "é", "\udc80")),
    ],
)
def test_what_no_request_can_carry_is_one_line_that_names_it(
    name: str, part: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name_the_pair(monkeypatch, NOBODY, **{part: value})
    assert app.run(ON_A_PAIR[name]) == WRONG
    named = {variable_of(part), f"--{part.replace('_', '-')}"}
    assert one_line(capsys).partition(":")[0] in named


# Services of our own


SCRIPTS: Final = {
    "says why": "echo 'PEF_SOMETHING: no such thing' >&2; exit 2",
    "is killed": "kill -KILL $$",
    "says nothing": "exit 0",
}


@pytest.mark.sockets
@pytest.mark.parametrize("name", STARTS_A_PAIR)
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_service_that_ends_as_it_starts_is_one_line(
    name: str,
    script: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (programs := tmp_path / "bin").mkdir()
    for service in ("pef-ultravisor", "pef-hypervisor"):
        (file := programs / service).write_text(f"#!/bin/sh\n{SCRIPTS[script]}\n")
        file.chmod(0o755)
    (python := programs / "python").symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(python))
    assert app.run(COMMANDS[name]) == WRONG
    line = one_line(capsys)
    assert re.search("start of the (Ultravisor|Hypervisor): ", line)
    assert ("PEF_SOMETHING: no such thing" in line) == (script == "says why")


@pytest.mark.parametrize("name", STARTS_A_PAIR)
def test_a_service_that_is_not_installed_is_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert app.run(COMMANDS[name]) == WRONG
    assert "is not installed" in one_line(capsys)
