"""Have the pairs that the lab starts as processes run with mutants in them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Final

from mutants import starter
from mutants.exchange import only_in
from mutants.registry import MUTANTS
from pef_lab import service_process

STARTER: Final = "ends_with_starter"


@contextmanager
def served(*names: str) -> Iterator[None]:
    """Have both services of every pair started meanwhile bear these mutants; each shows in its own side.

    It holds for whoever starts a `pef_lab.service_process.ServiceProcess` in this process.
    """
    unknown = set(names) - set(MUTANTS)
    if unknown or not names:
        message = f"no such mutant: {', '.join(sorted(unknown)) or 'none named'}"
        raise KeyError(message)
    instead = ModuleType(STARTER)
    instead.__file__ = starter.__file__
    os.environ[starter.MUTANTS] = ",".join(names)
    try:
        with only_in(service_process, STARTER, instead):
            yield
    finally:
        del os.environ[starter.MUTANTS]
