"""Plain stand-ins for the local values of an operation, by which two of its states are compared."""

from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, Final, cast

import numpy as np


def plain(value: Any) -> Any:
    """Return a hashable stand-in for a local value: itself, its bytes, its fields, or only its type."""
    kind = type(value)
    if kind in _ITSELF:
        return value
    if kind is np.ndarray:
        return value.tobytes()
    if kind is list or kind is tuple:
        return tuple([plain(each) for each in value])
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, np.integer):
        return int(value)
    names = _FIELDS.get(kind)
    if names is None:
        frozen = is_dataclass(value) and cast("Any", kind).__dataclass_params__.frozen
        names = _FIELDS[kind] = tuple(each.name for each in fields(value)) if frozen else ()
    return tuple([plain(getattr(value, name)) for name in names]) if names else kind.__name__


_ITSELF: Final = frozenset({type(None), bool, int, str, bytes})
_FIELDS: Final[dict[type, tuple[str, ...]]] = {}
"""The fields of each frozen dataclass that was met; none of what is another kind of object."""
