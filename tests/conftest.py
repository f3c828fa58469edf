"""What all tests share."""

import os

import pytest
from hypothesis import HealthCheck, settings

# A machine may be slow, and other work may run beside the tests.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

# Tables are told as where no terminal is, whoever runs the tests.
os.environ.pop("COLUMNS", None)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run on asyncio: it is what the services run on."""
    return "asyncio"
