"""The pair that `pef up` keeps up: where its tokens are kept, and how `pef down` finds it.

One file a user, readable by that user alone, holds the endpoints as shell variables. Whoever keeps the pair
up holds a lock on the file, so that a file that was left behind is told from one whose pair is up.
"""

import fcntl
import os
import secrets
import shlex
import signal
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO

from pef_lab.failures import WrongInput

PID: Final = "PEF_UP_PID"
MACHINE_KEY: Final = "machine_key"


def standing_file(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the file of this user's standing pair, in a directory that only this user may enter."""
    base = environment.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    directory = Path(base) / f"pef-{os.getuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise WrongInput(f"{directory} is not a directory of this user's alone: remove it first")
    return directory / "pair.env"


def kept_machine_key(directory: Path) -> str:
    """Return what the key of this user's machine is made of: made once, so that images stay good."""
    path = directory / MACHINE_KEY
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return path.read_text(encoding="utf-8").strip()
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(key := secrets.token_hex(32))
    return key


@contextmanager
def standing(path: Path) -> Iterator[TextIO]:
    """Hold the file at `path` for a pair that is about to stand; raise WrongInput where one stands."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "r+", encoding="utf-8") as file:
        if not _lock(file):
            raise WrongInput("a pair is up already: `pef down` stops it")
        try:
            yield file
        finally:
            path.unlink(missing_ok=True)


def write(file: TextIO, variables: Mapping[str, str]) -> None:
    """Write `variables` and who keeps the pair up, as a shell reads them."""
    file.seek(0)
    file.truncate()
    lines = {**variables, PID: str(os.getpid())}
    file.writelines(f"export {name}={shlex.quote(value)}\n" for name, value in lines.items())
    file.flush()


def read(path: Path) -> dict[str, str]:
    """Return the variables of the pair that stands; raise WrongInput where none does."""
    try:
        with path.open("r+", encoding="utf-8") as file:
            text = "" if _lock(file) else file.read()
    except FileNotFoundError:
        text = ""
    if not text:
        raise WrongInput("no pair is up: `pef up` starts one")
    words = (word.partition("=") for word in shlex.split(text) if word != "export")
    return {name: value for name, _, value in words}


def take_down(path: Path) -> None:
    """Stop the pair that stands and wait until it is gone; raise WrongInput where none does."""
    pid = int(read(path)[PID])
    with path.open("r+", encoding="utf-8") as file:
        os.kill(pid, signal.SIGTERM)
        fcntl.flock(file, fcntl.LOCK_EX)


def _lock(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
