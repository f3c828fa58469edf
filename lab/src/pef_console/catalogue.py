"""What can be opened and looked up: files, designs, calls and lessons."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Each part as JSON. `lessons` is a function, as lessons are read when they are asked for."""

    files: Sequence[Mapping[str, Any]] = ()
    designs: Sequence[Mapping[str, str]] = ()
    lessons: Callable[[], Sequence[Mapping[str, Any]]] = tuple
