"""Settings are read, refused by their names, and not shown."""

import pytest
from pydantic import ValidationError
from pydantic_settings import SettingsError

from pef_kit.runtime.settings import ServiceSettings

SECRETS = {
    "PEF_HYPERVISOR_TOKEN": "canary-of-the-hypervisor",
    "PEF_ULTRAVISOR_TOKEN": "canary-of-the-ultravisor",
    "PEF_OBSERVER_TOKEN": "canary-of-the-observer",
    "PEF_GUEST_KEY": "canary-of-the-guests",
}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)
    monkeypatch.setenv("PEF_PEER_URL", "http://peer.test")


def shown(thing: object) -> str:
    return f"{thing!r} {thing!s} {getattr(thing, '__dict__', '')!r}"


def settings() -> ServiceSettings:
    return ServiceSettings()


def test_settings_are_read_and_not_shown() -> None:
    read = settings()
    assert read.guest_key.get_secret_value() == SECRETS["PEF_GUEST_KEY"]
    assert (read.host, read.peer_url, read.peer_timeout) == ("127.0.0.1", "http://peer.test", 60.0)
    assert "canary" not in shown(read) + read.model_dump_json() + str(read.model_dump())


@pytest.mark.parametrize("missing", [*SECRETS, "PEF_PEER_URL"])
def test_an_error_over_a_missing_setting_shows_no_other(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(missing)
    with pytest.raises(ValidationError, match=missing.removeprefix("PEF_").lower()) as caught:
        settings()
    assert "canary" not in shown(caught.value)


def test_two_roles_with_one_token_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEF_OBSERVER_TOKEN", SECRETS["PEF_HYPERVISOR_TOKEN"])
    with pytest.raises(ValidationError, match="two roles have the same token") as caught:
        settings()
    assert "canary" not in shown(caught.value)


@pytest.mark.parametrize("name", list(SECRETS))
def test_a_short_token_is_refused_and_not_shown(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "canary")
    with pytest.raises(ValidationError, match=name.removeprefix("PEF_").lower()) as caught:
        settings()
    assert "canary" not in shown(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PEF_PEER_TIMEOUT", "0"),
        ("PEF_PEER_TIMEOUT", "soon"),
        ("PEF_PEER_CONNECTIONS", "0"),
        ("PEF_READ_TIMEOUT", "-1"),
        ("PEF_STOP_TIMEOUT", "0"),
        ("PEF_CONNECTIONS", "0"),
        ("PEF_NORMAL_MEMORY_SIZE", "0"),
    ],
)
def test_a_setting_out_of_bounds_is_refused_by_its_name(
    name: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises((ValidationError, SettingsError), match=name.removeprefix("PEF_").lower()) as caught:
        settings()
    assert "canary" not in shown(caught.value)
