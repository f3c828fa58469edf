"""What a service keeps of its environment: its settings, and what every process has."""

import os

import pytest

from pef_kit.runtime.environment import keep_settings_only

KEPT = {
    "PEF_PORT": "1",
    "pef_host": "::1",
    "PATH": "/bin",
    "LC_ALL": "C",
    "PYTHONPATH": "/x",
    "GLIBC_TUNABLES": "a=b",
}
REMOVED = ("OTEL_PROPAGATORS", "SSLKEYLOGFILE", "http_proxy", "UV_THREADPOOL_SIZE", "MY_PEF_PORT")


def test_what_is_no_setting_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = KEPT | dict.fromkeys(REMOVED, "planted")
    for name in [*os.environ]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    keep_settings_only()
    assert dict(os.environ) == KEPT
