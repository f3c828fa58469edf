"""Examples of calls for the OpenAPI documents. A test plays each one against a live pair."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Example:
    """A request of a call, the name of the code that answers it, and of the check that refuses it, if any."""

    name: str
    summary: str
    request: dict[str, Any]
    code: str
    check: str = ""


EXAMPLES: Final[Mapping[str, tuple[Example, ...]]] = {}
"""The examples of each call, by its name."""
