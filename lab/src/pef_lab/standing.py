"""The pair that `pef up` keeps up: where its tokens are kept, and how `pef down` finds it.

One file per user, readable by that user alone, holds the endpoints as shell variables. It appears whole, once
both services are ready, or not at all. As long as the pair is up, `pef up` holds a lock on a file beside it:
so a file that was left behind is told from one whose pair is up.
"""

import fcntl
import os
import secrets
import shlex
import signal
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from pef_lab.failures import WrongInput

PID: Final = "PEF_UP_PID"
MACHINE_KEY: Final = "machine_key"
LOCK_SUFFIX: Final = ".lock"
UNFINISHED_SUFFIX: Final = ".new"


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
    """Return what the key of this user's machine is made of: made once, so that images stay good.

    The caller holds the lock of the directory's pair.
    """
    path = directory / MACHINE_KEY
    with suppress(FileNotFoundError):
        if kept := path.read_text(encoding="utf-8").strip():
            return kept
    write_whole(path, key := secrets.token_hex(32))
    return key


@contextmanager
def standing(path: Path) -> Iterator[None]:
    """Hold the place of a pair that is about to stand; raise WrongInput where one stands.

    A file of a pair that is no more is removed, and so is this pair's at the end.
    """
    with _lock_file(path) as lock:
        if not _locked(lock):
            raise WrongInput("a pair is up already: `pef down` stops it")
        path.unlink(missing_ok=True)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def write(path: Path, variables: Mapping[str, str]) -> None:
    """Write `variables` and who keeps the pair up, as a shell reads them."""
    lines = {**variables, PID: str(os.getpid())}
    write_whole(path, "".join(f"export {name}={shlex.quote(value)}\n" for name, value in lines.items()))


def write_whole(path: Path, text: str) -> None:
    """Write a file that only this user may read, so that it has all of `text` or is not there.

    One process writes it at a time.
    """
    unfinished = path.with_name(path.name + UNFINISHED_SUFFIX)
    unfinished.unlink(missing_ok=True)
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def read(path: Path) -> dict[str, str]:
    """Return the variables of the pair that stands; raise WrongInput where none does."""
    with _lock_file(path) as lock:
        if _locked(lock):
            raise WrongInput("no pair is up: `pef up` starts one")
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise WrongInput("a pair is starting, or ending: try again in a moment") from None
    words = (word.partition("=") for word in shlex.split(text) if word != "export")
    return {name: value for name, _, value in words}


def take_down(path: Path) -> None:
    """Stop the pair that stands and wait until it is gone; raise WrongInput where none does."""
    os.kill(int(read(path)[PID]), signal.SIGTERM)
    with _lock_file(path) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)


@contextmanager
def _lock_file(path: Path) -> Iterator[int]:
    """Open the file beside `path` that is locked while a pair stands. It stays, so that it is one file."""
    name = path.with_name(path.name + LOCK_SUFFIX)
    handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        yield handle
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
