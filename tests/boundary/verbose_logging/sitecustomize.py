"""Make a service log as much as it can: Python runs this before it, where PYTHONPATH leads here.

Every logger of the process says all it has to say, uvicorn's trace of messages and access log included.
"""

import logging
from typing import Any

import uvicorn

_made = uvicorn.Config.__init__


def _verbose(config: uvicorn.Config, app: Any, **options: Any) -> None:
    _made(config, app, **{**options, "log_level": "trace", "access_log": True})


logging.getLogger().setLevel(1)
uvicorn.Config.__init__ = _verbose  # type: ignore[assignment, method-assign]
