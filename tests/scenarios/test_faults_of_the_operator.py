"""Every command that fails on this machine, or by its operator, says so in one line and ends with status 2.

A finding about a design, a service or a file is status 1, and nothing else is. The commands run as processes:
their streams, limits and environment are what is tried.
"""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pytest

PEF: Final = Path(sys.executable).with_name("pef")
EXAMPLE: Final = Path(__file__).parents[2] / "docs/counterexamples/broken-the-tables-agree.json"
RUN: Final = ("designs", "--size", "64MiB", "--touched", "1MiB", "--design", "tracked")
FINDING: Final = 1
WRONG: Final = 2
READER_LEFT: Final = 141
SECONDS: Final = 120
NOBODY: Final = "http://127.0.0.1:9"
STANDING: Final = {
    "PEF_ULTRAVISOR_URL": NOBODY,
    "PEF_HYPERVISOR_URL": NOBODY,
    **dict.fromkeys(
        ("PEF_VMM_TOKEN", "PEF_OBSERVER_TOKEN", "PEF_ULTRAVISOR_GUEST_KEY", "PEF_HYPERVISOR_GUEST_KEY"),
        "0123456789abcdef",
    ),
    **dict.fromkeys(("PEF_ULTRAVISOR_TOKEN", "PEF_HYPERVISOR_TOKEN"), "fedcba9876543210"),
}


def pef(
    *words: str | Path,
    variables: Mapping[str, str] | None = None,
    stdout: int = subprocess.PIPE,
    limit: Callable[[], None] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PEF_")}
    return subprocess.run(
        [PEF, *map(str, words)],
        env=clean | {"COLUMNS": "200"} | dict(variables or {}),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=SECONDS,
        check=False,
        preexec_fn=limit,
    )


def one_line(done: subprocess.CompletedProcess[bytes]) -> str:
    """Return what a command said when it failed: its last line, and no traceback before it."""
    text = done.stderr.decode()
    assert "Traceback" not in text
    lines = [line for line in text.splitlines() if line.startswith("pef: ")]
    assert len(lines) == 1, text
    return lines[0]


WRITERS: Final = {
    "designs": RUN,
    "explore": ("explore", "--design", "tracked", "--slots", "1", "--calls", "1", "--processes", "1"),
    "simulate": ("simulate", "--seeds", "1", "--steps", "5", "--processes", "1"),
    "rows": ("rows", "--id", "uv/esm/success"),
}
"""Commands that run for a while and then write a report, in their shortest form."""


@pytest.mark.verify
@pytest.mark.sockets
@pytest.mark.parametrize("name", WRITERS)
def test_a_report_that_does_not_fit_the_disk_is_one_line(name: str) -> None:
    """Given a full disk, when the run is done, then its result is shown, and the lost file is one line."""
    done = pef(*WRITERS[name], "--json", "/dev/full")
    assert one_line(done) == "pef: /dev/full: No space left on device"
    assert done.returncode == WRONG
    assert done.stdout


@pytest.mark.verify
@pytest.mark.sockets
def test_a_trace_that_does_not_fit_the_disk_is_one_line() -> None:
    done = pef(*RUN, "--trace", "/dev/full")
    assert one_line(done) == "pef: /dev/full: No space left on device"
    assert done.returncode == WRONG


@pytest.mark.parametrize("words", [("--help",), ("explore", "--help"), ("trace", EXAMPLE)])
def test_output_that_does_not_fit_the_disk_is_one_line(words: tuple[str | Path, ...]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = pef(*words, stdout=full.fileno())
    assert one_line(done) == "pef: No space left on device"
    assert done.returncode == WRONG


def test_without_standard_output_nothing_is_begun() -> None:
    done = pef("trace", EXAMPLE, limit=lambda: os.close(1))
    assert "standard output is closed" in one_line(done)
    assert done.returncode == WRONG


ENCODINGS: Final = {
    "Latin-1": {"PYTHONIOENCODING": "latin-1"},
    "ASCII": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_encoding_without_our_signs_gets_others(encoding: str) -> None:
    done = pef("trace", EXAMPLE, variables=ENCODINGS[encoding])
    assert done.returncode == 0
    assert done.stderr == b""
    text = done.stdout.decode("latin-1")
    assert "UV_ESM" in text
    assert "?" not in text


@pytest.mark.parametrize("after", [0, 1], ids=["at once", "after the first line"])
def test_a_command_ends_when_its_reader_does(after: int) -> None:
    """Given a search of minutes, when its reader leaves, then it ends, with what it started."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PEF_")}
    words = [str(PEF), *(("up",) if after else ("explore", "--design", "all"))]
    with subprocess.Popen(words, env=clean, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as running:
        assert running.stdout is not None
        for _ in range(after):
            running.stdout.readline()
        running.stdout.close()
        assert running.wait(SECONDS) == READER_LEFT


NEEDING_A_PAIR: Final = {
    "demo": ("demo",),
    "designs": RUN,
    "token": ("token", "guest", "1"),
    "rows": ("rows", "--id", "uv/esm/success", "--ultravisor-url", NOBODY, "--hypervisor-url", NOBODY),
    "image": ("image", "build", "never", "--ultravisor-url", NOBODY),
}


@pytest.mark.parametrize("name", NEEDING_A_PAIR)
def test_a_pair_that_nobody_serves_is_one_line(name: str) -> None:
    done = pef(*NEEDING_A_PAIR[name], variables=STANDING)
    assert "127.0.0.1:9" in one_line(done) or "no answer" in one_line(done)
    assert done.returncode == WRONG


@pytest.mark.verify
@pytest.mark.sockets
@pytest.mark.parametrize(
    ("limit", "bytes_", "says"),
    [(resource.RLIMIT_AS, 20_000_000_000, "memory"), (resource.RLIMIT_FSIZE, 1 << 30, "large")],
    ids=["address space", "file size"],
)
def test_services_that_can_not_start_are_no_fault_of_a_design(limit: int, bytes_: int, says: str) -> None:
    """Given a machine that is too small, when designs are run, then none of them is charged with it."""
    done = pef(*RUN, limit=lambda: resource.setrlimit(limit, (bytes_, bytes_)))
    assert says in one_line(done)
    assert "start of the" in one_line(done)
    assert done.returncode == WRONG
    assert b"error" not in done.stdout


@pytest.mark.verify
@pytest.mark.sockets
def test_a_file_that_says_otherwise_is_a_finding(tmp_path: Path) -> None:
    """Given a file that says what is not so, when it is played, then the status is that of a finding."""
    text = EXAMPLE.read_text(encoding="utf-8").replace('"NORMAL"', '"SHARED"')
    (file := tmp_path / "changed.json").write_text(text, encoding="utf-8")
    assert pef("replay", file).returncode == FINDING


SMALL_SHM: Final = 'mount -t tmpfs -o size=64m tmpfs /dev/shm && exec "$@"'


def with_small_shm(*words: str | Path) -> list[str]:
    """Return the command line by which a command finds 64 MiB in /dev/shm, as containers have by default."""
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", SMALL_SHM, "sh", *map(str, words)]


@pytest.mark.verify
@pytest.mark.sockets
def test_normal_memory_that_does_not_fit_is_no_fault_of_a_design() -> None:
    """Given a /dev/shm of 64 MiB, when a guest writes 128 MiB, then the line says what to do instead."""
    if not shutil.which("unshare") or subprocess.run(with_small_shm("true"), check=False).returncode:
        pytest.skip("this machine gives no mount namespace")
    words = with_small_shm(PEF, "designs", "--size", "256MiB", "--touched", "128MiB", "--design", "tracked")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PEF_")}
    done = subprocess.run(words, env=clean, capture_output=True, timeout=SECONDS, check=False)
    assert "--normal-memory http" in one_line(done)
    assert done.returncode == WRONG
    assert done.stdout == b""
