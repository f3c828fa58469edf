"""Note the name of each environment variable that a process looks at, in the file that PEF_TEST_NAMES names.

Python runs this before the service, where PYTHONPATH leads here. Going through all
variables notes none.
"""

import os
from pathlib import Path
from typing import Any

_file = Path(os.environ["PEF_TEST_NAMES"]).open("a", buffering=1, encoding="utf-8")  # noqa: SIM115
_environment: Any = type(os.environ)
_look = _environment.__getitem__


def _noted(environment: Any, name: str) -> Any:
    _file.write(f"{name}\n")
    return _look(environment, name)


_environment.__getitem__ = _noted
