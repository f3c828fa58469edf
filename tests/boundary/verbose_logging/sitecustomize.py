"""Make a service log as much as it can: Python runs this before it, where PYTHONPATH leads here.

Every logger of the process says all it has to say, uvicorn's trace of messages and access log included.
"""

import logging
from typing import Any

import uvicorn

_run = uvicorn.run


def _verbose(app: Any, **options: Any) -> None:
    _run(app, **{**options, "log_level": "trace", "access_log": True})


logging.basicConfig(level=1)
uvicorn.run = _verbose
