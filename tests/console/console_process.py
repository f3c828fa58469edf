"""`pef console` in a process of its own: start it, read the URL that it prints, and end it with Ctrl-C."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
URL: Final = re.compile(r"(http://\S+)/#secret=(\S+)")
OF_MAKE: Final = frozenset({"MAKEFLAGS", "MFLAGS", "MAKELEVEL"})
"""What a make tells the makes that it runs: a clone's own make is none of these."""
DEADLINE: Final = 30.0
"""Seconds within which a console prints its URL, and within which it ends."""


@dataclass
class ConsoleProcess:
    """A console that runs: its origin, its secret, and all lines that it has printed."""

    process: subprocess.Popen[str]
    origin: str
    secret: str
    printed: list[str] = field(default_factory=list)

    def link(self, **parts: str | int | None) -> str:
        """Return a URL with this fragment, and the secret for a browser that has not entered yet."""
        said = "".join(f"&{name}={value}" for name, value in parts.items())
        return f"{self.origin}/#secret={self.secret}{said}"

    def interrupt(self) -> float:
        """Press Ctrl-C; return the seconds until the process has ended."""
        began = time.monotonic()
        os.killpg(self.process.pid, signal.SIGINT)
        self.printed += self.process.communicate(timeout=DEADLINE)[0].splitlines()
        return time.monotonic() - began


@contextmanager
def console_process(*options: str, environment: Mapping[str, str] | None = None) -> Iterator[ConsoleProcess]:
    """Have a console running, with these options and variables beside the process's own."""
    command = [str(Path(sys.executable).with_name("pef")), "console", *options]
    with started(command, ROOT, {**os.environ, **(environment or {})}) as console:
        yield console


@contextmanager
def made_in_a_clean_clone(folder: Path) -> Iterator[ConsoleProcess]:
    """Have a console running by `make console` in a clone of the last commit, without an environment yet."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)  # noqa: S607
    variables = {name: value for name, value in os.environ.items() if name not in OF_MAKE}
    with started(["make", "console"], folder, variables) as console:
        yield console


@contextmanager
def started(command: list[str], folder: Path, variables: Mapping[str, str]) -> Iterator[ConsoleProcess]:
    """Have a command running that serves the console; its process group is its own, as in a terminal."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=variables,
        start_new_session=True,
    )
    printed: list[str] = []
    try:
        assert process.stdout is not None
        for line in process.stdout:
            printed.append(line)
            if found := URL.search(line):
                yield ConsoleProcess(process, found[1], found[2], printed)
                break
        else:
            raise AssertionError(f"{command} printed no URL: {''.join(printed)}")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
            try:
                process.communicate(timeout=DEADLINE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
        if process.stdout is not None:
            process.stdout.close()
        process.wait()
