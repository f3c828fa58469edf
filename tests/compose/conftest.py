"""Projects of the compose file for tests: up before the first that asks for one, gone after the last."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from compose.containers import Project


@contextmanager
def standing(project: Project) -> Iterator[Project]:
    """Have a project up, and take it down at the end, however that comes."""
    try:
        project.up()
        yield project
    finally:
        project.make("down")


def named(directory: Path, *files: str) -> Project:
    """Return a project that no other run has."""
    name = f"pef-test-{secrets.token_hex(4)}"
    return Project(name, directory / "secrets", ("docker-compose.yml", *files))


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """Name a project of this test alone; nothing of it is up yet."""
    mine = named(tmp_path)
    yield mine
    mine.make("down")


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Have a pair up that nobody harms."""
    with standing(named(tmp_path_factory.mktemp("pair"))) as up:
        yield up


@pytest.fixture(scope="module")
def killable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Have a pair up whose UV_ESM lasts."""
    with standing(named(tmp_path_factory.mktemp("killable"), "tests/compose/killable.yml")) as up:
        yield up
