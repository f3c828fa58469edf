"""What all tests share."""

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from harness.processor_time import ProcessorTimeLoop

# A machine may be slow, and other work may run beside the tests.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

# Tables are told as where no terminal is, whoever runs the tests.
os.environ.pop("COLUMNS", None)


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on asyncio: it is what the services run on. Bounds do not count waits for a processor."""
    return "asyncio", {"loop_factory": ProcessorTimeLoop}
