"""Fixtures of the kit's tests."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest


@pytest.fixture(scope="module")
def threads() -> Iterator[ThreadPoolExecutor]:
    """Give a small pool of threads."""
    with ThreadPoolExecutor(2) as pool:
        yield pool
