"""Makes the draws of entropy of a service known to a test: Python runs it first where PYTHONPATH leads here.

Each draw of 32 bytes is appended to the file that PEF_TEST_DRAWS names.
"""

import os
import secrets
from pathlib import Path

KEY_BYTES = 32
_draws = os.open(
    Path(os.environ["PEF_TEST_DRAWS"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
)
_token_bytes = secrets.token_bytes


def _known(nbytes: int | None = None) -> bytes:
    draw = _token_bytes(nbytes)
    if nbytes == KEY_BYTES:
        os.write(_draws, draw)
    return draw


secrets.token_bytes = _known
